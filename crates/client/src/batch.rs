//! BatchSign, and how any number of items becomes calls within the service's limits.

use std::sync::Arc;

use chancery_api::v1;
use chancery_api::v1::batch_sign_result::Result as ItemResult;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use prost::Message;
use tokio::time::Instant;

use crate::retry::Repeat;
use crate::{Client, ClientError, SignItem, Signed};

/// How many items a call takes.
const MAX_ITEMS: usize = 256;
/// How large a call's items may be together: 3 MiB.
const MAX_BYTES: usize = 3 * 1024 * 1024;
/// What the encoding of an item adds in the list: a tag, and a length of at most four bytes.
const ITEM_OVERHEAD: usize = 5;

impl Client {
    /// Signs any number of inputs, in as few calls as the service's limits allow (256 items, 3 MiB), one after the other
    /// and all within the client's time. One answer for each item, in their order; a call that failed is the error of each
    /// of its items ([`ClientError::Shared`]), and what other calls signed is not lost.
    ///
    /// Calls are repeated as [`Client::sign`] is; single items that failed are not: their errors say whether it is worth
    /// it ([`ClientError::is_transient`]).
    pub async fn batch_sign(&self, items: impl IntoIterator<Item = SignItem>) -> Vec<Result<Signed, ClientError>> {
        let deadline = self.deadline();
        let asked: Vec<v1::SignRequest> = items.into_iter().map(SignItem::into_request).collect();
        let mut requests = Vec::with_capacity(asked.len());
        // Where a request cannot be signed by its caller, it is an error at its place.
        let mut places = Vec::new();
        for request in asked {
            let learnt = self.learn_hash(&request.name).await;
            if learnt.is_ok() {
                requests.push(request);
            }
            places.push(learnt);
        }
        let mut answers = self.batch_sign_requests(deadline, requests).await.into_iter();
        let answer =
            |learnt: Result<(), ClientError>| learnt.and_then(|()| answers.next().unwrap_or_else(|| Err(no_result())));
        places.into_iter().map(answer).collect()
    }

    async fn batch_sign_requests(
        &self,
        deadline: Instant,
        requests: Vec<v1::SignRequest>,
    ) -> Vec<Result<Signed, ClientError>> {
        let mut answers = Vec::with_capacity(requests.len());
        for chunk in chunks(requests) {
            let asked = chunk.clone();
            let request = v1::BatchSignRequest { requests: chunk };
            let results = self
                .call_until(deadline, Repeat::Safe, request, |connection, request| {
                    let vouched = self.vouched(connection, request);
                    async move {
                        let (connection, request) = vouched?;
                        SigningServiceClient::new(connection).batch_sign(request).await
                    }
                })
                .await
                .map(|answer| answer.results);
            let mut signed = Vec::with_capacity(asked.len());
            let mut wanted = asked.iter().map(|request| request.receipt);
            distribute(results, asked.len(), |result| {
                let with_receipt = wanted.next().unwrap_or_default();
                signed.push(result.and_then(|result| signed_item(with_receipt, result)));
            });
            for (request, result) in asked.iter().zip(signed) {
                answers.push(match result {
                    Ok(signed) => self.released(request, signed).await,
                    Err(error) => Err(error),
                });
            }
        }
        answers
    }
}

fn signed_item(with_receipt: bool, v1::BatchSignResult { result }: v1::BatchSignResult) -> Result<Signed, ClientError> {
    match result {
        Some(ItemResult::Response(response)) => Signed::of(with_receipt, response),
        Some(ItemResult::Error(status)) => Err(ClientError::Refused(Box::new(status.into()))),
        None => Err(no_result()),
    }
}

pub(crate) fn no_result() -> ClientError {
    ClientError::Answer { what: "an item has no result".to_owned() }
}

/// Consecutive items together, as many as a call takes. An item that is too large by itself goes alone, for the service to
/// say so.
pub(crate) fn chunks<M: Message>(items: Vec<M>) -> Vec<Vec<M>> {
    let mut chunks: Vec<Vec<M>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = item.encoded_len() + ITEM_OVERHEAD;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < MAX_ITEMS && bytes + size <= MAX_BYTES => {
                chunk.push(item);
                bytes += size;
            }
            _ => {
                chunks.push(vec![item]);
                bytes = size;
            }
        }
    }
    chunks
}

/// Hands each of `count` items its result, or all of them the error of their call.
pub(crate) fn distribute<R>(
    results: Result<Vec<R>, ClientError>,
    count: usize,
    mut each: impl FnMut(Result<R, ClientError>),
) {
    let results = results.and_then(|results| {
        let what = || format!("{} results for {count} items", results.len());
        if results.len() == count { Ok(results) } else { Err(ClientError::Answer { what: what() }) }
    });
    match results {
        Ok(results) => results.into_iter().for_each(|result| each(Ok(result))),
        Err(error) => {
            let shared = Arc::new(error);
            (0..count).for_each(|_| each(Err(ClientError::Shared(Arc::clone(&shared)))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyRef;

    fn request(length: usize) -> v1::SignRequest {
        let name: KeyRef = "keyRings/dev/keys/k".parse().unwrap();
        SignItem::new(name, vec![7; length]).into_request()
    }

    fn sizes(lengths: &[usize]) -> Vec<usize> {
        let requests = lengths.iter().map(|length| request(*length)).collect();
        let chunks = chunks(requests);
        for chunk in chunks.iter().filter(|chunk| chunk.len() > 1) {
            let whole = v1::BatchSignRequest { requests: chunk.clone() };
            assert!(whole.encoded_len() <= MAX_BYTES && chunk.len() <= MAX_ITEMS);
        }
        chunks.iter().map(Vec::len).collect()
    }

    #[test]
    fn calls_are_within_both_limits_and_no_more_than_needed() {
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[32; 256]), [256]);
        assert_eq!(sizes(&[32; 1000]), [256, 256, 256, 232]);
        let mebibyte = 1024 * 1024;
        assert_eq!(
            sizes(&[mebibyte; 7]),
            [2, 2, 2, 1],
            "three messages of 1 MiB have more than 3 MiB with their names"
        );
        assert_eq!(sizes(&[1, 4 * mebibyte, 1]), [1, 1, 1]);
        assert_eq!(sizes(&[3 * 4096; 400]), [255, 145]);
    }

    #[test]
    fn items_share_the_error_of_their_call_and_a_list_of_another_length_is_one() {
        let mut got = Vec::new();
        distribute(Ok(vec![1, 2]), 3, |result: Result<i32, ClientError>| got.push(result));
        assert!(got.len() == 3 && got.iter().all(|result| matches!(result, Err(ClientError::Shared(_)))));
        let mut got = Vec::new();
        distribute(Ok(vec![1, 2]), 2, |result: Result<i32, ClientError>| got.push(result.unwrap()));
        assert_eq!(got, [1, 2]);
    }
}

//! Many items in one call: each is authorised and answered by itself, and recorded where a single one would be.

use std::time::{Duration, Instant};

use crate::sign::{SignAnswer, SignRequest};
use crate::verify::{VerifyAnswer, VerifyRequest};
use crate::{Chancery, Error, Requester};

/// For so long a batch is computed before other calls have their turn.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Computes items that take a while each, and gives way in between, so that the other calls of the thread wait for an item or
/// two and not for a batch. It has no threads of its own: those would only compete with the service's for the same processors.
pub(crate) async fn giving_way<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut computed = Vec::with_capacity(items.size_hint().0);
    let mut since = Instant::now();
    for item in items {
        computed.push(item);
        if since.elapsed() >= AT_ONCE {
            tokio::task::yield_now().await;
            since = Instant::now();
        }
    }
    computed
}

impl Chancery {
    /// Signs each request; the answers are in their order. An item that could not even be read is given as its error
    /// and comes back at its place. One outcome record closes the whole batch.
    ///
    /// # Errors
    /// [`Error::InvalidField`] where there are none or too many; what concerns the record concerns all items:
    /// [`Error::Overloaded`], [`Error::RecordClosed`], [`Error::StateChanging`].
    pub async fn batch_sign(
        &self,
        from: &Requester,
        requests: Vec<Result<SignRequest, Error>>,
    ) -> Result<Vec<Result<SignAnswer, Error>>, Error> {
        self.check_batch_items(requests.len())?;
        let wanted: Vec<bool> =
            requests.iter().map(|request| request.as_ref().is_ok_and(|request| request.receipt)).collect();
        let deadline = from.deadline;
        let mut readable = Vec::with_capacity(requests.len());
        let places: Vec<Option<Error>> = requests
            .into_iter()
            .map(|request| match request {
                Ok(request) => {
                    readable.push(request);
                    None
                }
                Err(error) => Some(error),
            })
            .collect();
        let (this, from) = (self.clone(), from.clone());
        let answers = self.to_the_end(async move { this.sign_all(&from, &readable).await }).await?;
        let mut answers = answers.into_iter();
        let answer_or = |unreadable: Option<Error>| match unreadable {
            Some(error) => Err(error),
            None => answers.next().unwrap_or_else(|| Err(Error::internal("an item of the batch was not answered"))),
        };
        let mut answers: Vec<_> = places.into_iter().map(answer_or).collect();
        let mut receivers: Vec<&mut SignAnswer> = answers
            .iter_mut()
            .zip(wanted)
            .filter(|(_, wanted)| *wanted)
            .filter_map(|(answer, _)| answer.as_mut().ok())
            .collect();
        let indexes: Vec<u64> = receivers.iter().map(|answer| answer.record_index).collect();
        for (answer, receipt) in receivers.iter_mut().zip(self.receipts(&indexes, deadline).await) {
            answer.receipt = Some(receipt);
        }
        Ok(answers)
    }

    /// Checks each signature; the answers are in the requests' order. An item that could not even be read is given as its
    /// error and comes back at its place.
    ///
    /// This is computing, for 256 items tens of milliseconds of it; it gives way, and stops when nobody waits for the answer any
    /// more.
    ///
    /// # Errors
    /// [`Error::InvalidField`] where there are none or too many.
    pub async fn batch_verify(
        &self,
        from: &Requester,
        requests: Vec<Result<VerifyRequest, Error>>,
    ) -> Result<Vec<Result<VerifyAnswer, Error>>, Error> {
        self.check_batch_items(requests.len())?;
        let verify = |request: Result<VerifyRequest, Error>| request.and_then(|request| self.verify_now(from, request));
        Ok(giving_way(requests.into_iter().map(verify)).await)
    }

    fn check_batch_items(&self, count: usize) -> Result<(), Error> {
        let limit = self.inner.limits.max_batch_items;
        if count == 0 || count > limit {
            let rule = format!("a batch has 1 to {limit} requests, not {count}");
            return Err(Error::invalid("requests", rule));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// On one thread, so that nothing else happens while an item is computed.
    #[tokio::test]
    async fn others_have_their_turn_while_a_batch_is_computed() {
        let turns = Arc::new(AtomicU32::new(0));
        let other = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move {
                loop {
                    turns.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            }
        });
        let compute = |item: u32| {
            std::thread::sleep(AT_ONCE);
            item
        };
        assert_eq!(giving_way((0..20).map(compute)).await, (0..20).collect::<Vec<_>>());
        other.abort();
        assert!(turns.load(Ordering::SeqCst) >= 20, "after each of the items");
    }
}

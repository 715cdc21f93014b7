//! Many items in one call: each is authorised and answered by itself, and recorded where a single one would be.

use crate::sign::{SignAnswer, SignRequest};
use crate::verify::{VerifyAnswer, VerifyRequest};
use crate::{Chancery, Error, Requester};

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
    /// This is computing, for 256 items tens of milliseconds of it. The task gives way after each item, so that the other
    /// calls of its thread wait for one item and not for a batch; and it stops when nobody waits for the answer any more.
    /// It has no threads of its own: those would only compete with the service's for the same processors.
    ///
    /// # Errors
    /// [`Error::InvalidField`] where there are none or too many.
    pub async fn batch_verify(
        &self,
        from: &Requester,
        requests: Vec<Result<VerifyRequest, Error>>,
    ) -> Result<Vec<Result<VerifyAnswer, Error>>, Error> {
        self.check_batch_items(requests.len())?;
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(request.and_then(|request| self.verify_now(from, request)));
            tokio::task::yield_now().await;
        }
        Ok(answers)
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

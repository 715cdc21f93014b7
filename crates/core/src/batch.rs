//! Signing many inputs in one call: each is authorised, recorded and answered by itself.

use crate::sign::{SignAnswer, SignRequest};
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
        let limit = self.inner.limits.max_batch_items;
        if requests.is_empty() || requests.len() > limit {
            let rule = format!("a batch has 1 to {limit} requests, not {}", requests.len());
            return Err(Error::invalid("requests", rule));
        }
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
        Ok(places.into_iter().map(answer_or).collect())
    }
}

//! Random bytes from a token's generator.

use chancery_model::{Action, RingName};
use chancery_policy::OperationContext;
use tracing::{Instrument as _, debug_span};

use crate::{Chancery, Error, Requester};

/// The most bytes that one call answers.
const MAX_RANDOM_BYTES: usize = 1024;

impl Chancery {
    /// Bytes of the random generator of a ring's token.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::InvalidField`], [`Error::RateLimit`] of the caller, [`Error::Overloaded`],
    /// [`Error::Device`], [`Error::DeadlineExceeded`].
    pub async fn generate_random_bytes(
        &self,
        from: &Requester,
        ring: &RingName,
        length: i64,
    ) -> Result<Vec<u8>, Error> {
        // Nothing is recorded that would have to be brought to its end; but the token works on, whoever hangs up.
        let (this, from, ring) = (self.clone(), from.clone(), ring.clone());
        self.to_the_end(async move { this.random_bytes(&from, &ring, length).await }).await
    }

    async fn random_bytes(&self, from: &Requester, ring: &RingName, length: i64) -> Result<Vec<u8>, Error> {
        let action = Action::GenerateRandomBytes;
        let asked = usize::try_from(length).unwrap_or(0);
        let operation = OperationContext::Random { length: asked as u64 };
        let snapshot = self.snapshot();
        let (ring, _permit) = self.authorize_ring(&snapshot, from, action, ring, operation)?;
        if !(1..=MAX_RANDOM_BYTES).contains(&asked) {
            return Err(Error::invalid("length", format!("must be 1 to {MAX_RANDOM_BYTES}, not {length}")));
        }
        self.admit_one(&snapshot, from, None)?.spend();
        let span = debug_span!("token", chancery.token = %ring.token);
        let result = self.token_for(from, &ring)?.random(asked, from.deadline).instrument(span).await;
        result.map_err(|failure| match failure.kind {
            chancery_hsm::HsmErrorKind::Deadline => Error::DeadlineExceeded { record_index: None },
            _ => Error::Device { operation: action, token: ring.token, failure },
        })
    }
}

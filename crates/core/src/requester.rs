//! Who is asking, now: the first argument of every use case.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use chancery_model::{Authentication, Caller};
use tokio::time::Instant;

use crate::{ClientCertificate, Error};

/// An authenticated caller in the middle of a call.
#[derive(Debug, Clone)]
pub struct Requester {
    /// The registered caller.
    pub caller: Arc<Caller>,
    /// How this call proved it.
    pub authentication: Authentication,
    /// The certificate by which it did, where it did by one.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Address and port that the call came from, where known.
    pub source: Option<SocketAddr>,
    /// The W3C trace id, 32 hexadecimal digits, where there is one.
    pub trace_id: Option<String>,
    /// When the answer is no longer of use.
    pub deadline: Instant,
    /// What the call holds.
    pub held: Held,
}

impl Requester {
    /// Whether the answer is still of use.
    pub(crate) fn require_time(&self) -> Result<(), Error> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(Error::DeadlineExceeded { record_index: None }) }
    }
}

/// What a call holds, for example its place among the calls under way: until it was answered, and until nothing is done for
/// it any more. What is recorded is carried out although its caller has hung up, and who hangs up is to gain no place by it.
#[derive(Clone, Default)]
pub struct Held(Option<Arc<dyn Send + Sync>>);

impl Held {
    /// Holds this, too, from now on. Clones that were made before do not.
    pub fn keep(&mut self, what: impl Send + Sync + 'static) {
        self.0 = Some(Arc::new((self.0.take(), what)));
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Held(something)" } else { "Held(nothing)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_with_the_last_clone() {
        let (service, caller) = (Arc::new(()), Arc::new(()));
        let mut call = Held::default();
        call.keep(Arc::clone(&service));
        let mut work = call.clone();
        work.keep(Arc::clone(&caller));
        assert_eq!((Arc::strong_count(&service), Arc::strong_count(&caller)), (2, 2));
        drop(call);
        assert_eq!((Arc::strong_count(&service), Arc::strong_count(&caller)), (2, 2));
        drop(work);
        assert_eq!((Arc::strong_count(&service), Arc::strong_count(&caller)), (1, 1));
    }
}

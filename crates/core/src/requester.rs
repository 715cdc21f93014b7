//! Who is asking, now: the first argument of every use case.

use std::net::SocketAddr;
use std::sync::Arc;

use chancery_model::{Authentication, Caller};
use tokio::time::Instant;

/// An authenticated caller in the middle of a call.
#[derive(Debug, Clone)]
pub struct Requester {
    /// The registered caller.
    pub caller: Arc<Caller>,
    /// How this call proved it.
    pub authentication: Authentication,
    /// Address and port that the call came from, where known.
    pub source: Option<SocketAddr>,
    /// The W3C trace id, 32 hexadecimal digits, where there is one.
    pub trace_id: Option<String>,
    /// When the answer is no longer of use.
    pub deadline: Instant,
}

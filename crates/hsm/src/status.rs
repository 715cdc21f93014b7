//! What can be told about a token from outside, without asking it.

use crate::HsmErrorKind;
use chancery_model::{Algorithm, Id};

/// Whether a token answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenHealth {
    /// A worker is being started; calls wait for it.
    Starting,
    /// A worker holds the token, logged in.
    Up,
    /// No worker could take the token; it is tried again and again. Calls fail at once.
    Down {
        /// What kind of failure it is: what may be told outside is worded from this.
        kind: HsmErrorKind,
        /// Why, in full, for the log only: it may hold return codes and paths.
        reason: String,
    },
    /// The token refused the PIN; nothing is tried any more until somebody puts it right and starts the service again.
    Latched {
        /// What kind of failure it is: what may be told outside is worded from this.
        kind: HsmErrorKind,
        /// Why, and which file to remove, for the log only: it may hold return codes and paths.
        reason: String,
    },
}

/// A token as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStatus {
    /// Our name for the token.
    pub id: Id,
    /// The token's label.
    pub label: String,
    /// The token's serial number.
    pub serial: String,
    /// Its manufacturer.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its firmware's version, `major.minor`.
    pub firmware_version: String,
    /// Its hardware's version, `major.minor`.
    pub hardware_version: String,
    /// Whether it answers.
    pub health: TokenHealth,
    /// Process id of the worker that holds it.
    pub worker_pid: Option<u32>,
    /// Workers that had to be started again since the service took the token.
    pub restarts: u64,
    /// Sessions that the worker has open.
    pub sessions_open: u64,
    /// Sessions that the token allows; `None` where it sets no limit or tells none.
    pub sessions_max: Option<u64>,
    /// Names of the mechanisms that the token lists, for example `CKM_ECDSA`.
    pub mechanisms: Vec<String>,
    /// Algorithms that the token can serve.
    pub algorithms: Vec<Algorithm>,
    /// Threads that sign, each with its session.
    pub signing_threads: usize,
    /// Requests to sign, for MACs and for random bytes that the worker has.
    pub in_flight: usize,
    /// Such requests that wait in the service.
    pub queued: usize,
}

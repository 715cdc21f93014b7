//! What can be told about a token from outside, without asking it.

use crate::TokenHealth;
use chancery_model::{Algorithm, Id};
use std::time::SystemTime;

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
    /// How it is.
    pub health: TokenHealth,
    /// When another worker is tried at the earliest, while it is down; while it serves, until when its worker is not
    /// replaced on request, because one was a moment ago. `None` where nobody waits for either.
    pub next_attempt: Option<SystemTime>,
    /// Process id of the worker that holds it.
    pub worker_pid: Option<u32>,
    /// Workers that had to be started again since the service took the token.
    pub restarts: u64,
    /// How often the worker asked to be replaced and was not, because one had been a moment ago.
    pub replacements_held_back: u64,
    /// Resident memory of the worker in bytes; `None` without a worker, or where the system does not say.
    pub worker_memory_bytes: Option<u64>,
    /// Above so much it is replaced.
    pub worker_memory_limit_bytes: u64,
    /// Threads of the worker, those of the module among them; `None` as above.
    pub worker_threads: Option<u32>,
    /// Sessions that the worker has open.
    pub sessions_open: u64,
    /// Sessions that the token allows; `None` where it sets no limit or tells none.
    pub sessions_max: Option<u64>,
    /// Names of the mechanisms that the token lists, for example `CKM_ECDSA`.
    pub mechanisms: Vec<String>,
    /// Algorithms that the token can serve.
    pub algorithms: Vec<Algorithm>,
    /// Threads that sign now, each with its session.
    pub signing_threads: usize,
    /// Threads that were asked for.
    pub signing_threads_configured: usize,
    /// Requests to sign, for MACs and for random bytes that the worker has.
    pub in_flight: usize,
    /// Such requests that wait in the service.
    pub queued: usize,
}

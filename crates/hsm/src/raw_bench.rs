//! The rate of the device itself, to hold the service's rate against.

use crate::token::launch;
use crate::wire::{Measure, Started, Task, TokenAddress, algorithm_index};
use crate::{HsmError, START_PATIENCE, TokenSettings, WorkerCommand};
use chancery_model::Algorithm;
use std::time::Duration;

/// What a token did with nothing in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRate {
    /// Signatures or MACs made.
    pub signatures: u64,
    /// Time taken.
    pub elapsed: Duration,
}

impl RawRate {
    /// Signatures or MACs in a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate is not exact to 52 bits")]
    pub fn per_second(&self) -> f64 {
        self.signatures as f64 / self.elapsed.as_secs_f64()
    }
}

/// Lets `threads` threads of one process sign (or make MACs) for `duration`, each with a session of its own, with a
/// session key that is made for it and leaves nothing behind.
///
/// It needs the token's lock: measure before the service takes the token or after it let go, or on another token.
///
/// # Errors
/// [`HsmError`] where the token cannot be opened or lacks what the algorithm needs.
pub async fn measure(
    worker: &WorkerCommand,
    settings: &TokenSettings,
    algorithm: Algorithm,
    threads: usize,
    duration: Duration,
) -> Result<RawRate, HsmError> {
    let what = format!("measuring token {}", settings.id);
    let task = Task::Measure(Measure {
        token: TokenAddress::of(settings),
        algorithm: algorithm_index(algorithm),
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        milliseconds: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    });
    match launch::run_once(&what, worker, &settings.module_environment, task, START_PATIENCE + duration).await? {
        Started::Measured { signatures, nanoseconds } => {
            Ok(RawRate { signatures, elapsed: Duration::from_nanos(nanoseconds) })
        }
        other => Err(other.into_error(&what)),
    }
}

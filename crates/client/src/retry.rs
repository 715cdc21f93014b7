//! What is asked again: when, how often, and for how many calls at once.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chancery_crypto::random_bytes;
use tonic::Code;

use crate::{ClientError, ConnectProblem};

/// How calls are repeated that are safe to repeat: reads, Sign and its like (a repeated Sign makes, and records, another
/// signature of the same input), CreateKey and RotateKey (which carry a request id).
///
/// Repeated is only what failed with UNAVAILABLE, or RESOURCE_EXHAUSTED with a `RetryInfo`, or because the connection could
/// not be made or broke; never what ran out of time, was refused, or has no time left. Before each repetition the client
/// waits a random time between zero and a bound that doubles (full jitter), on top of what the service's `RetryInfo` asks.
///
/// A budget that all clones of a client share keeps a service in trouble from being buried: each failure of this kind takes
/// one token from a bucket of [`RetryPolicy::budget_tokens`], each success gives [`RetryPolicy::budget_refill`] back, and
/// nothing is repeated while the bucket is not more than half full. This is the throttling of gRPC (gRFC A6).
///
/// Nothing below repeats calls: tonic makes a broken connection anew for the next call, and does not send a call again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// How often a call is sent at most, the first time included. 1: never again.
    pub max_attempts: u32,
    /// The bound of the first wait.
    pub initial_backoff: Duration,
    /// What the bound does not grow beyond.
    pub max_backoff: Duration,
    /// Size of the bucket, in tokens. 0: no repetition ever.
    pub budget_tokens: u32,
    /// What a success gives back, in thousandths of a token.
    pub budget_refill: u32,
}

impl Default for RetryPolicy {
    /// At most 5 attempts, waits bounded by 100 ms, 200 ms, 400 ms and 800 ms; 100 tokens, of which a success gives back a
    /// tenth of one.
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            budget_tokens: 100,
            budget_refill: 100,
        }
    }
}

impl RetryPolicy {
    /// Every call is sent once.
    #[must_use]
    pub fn off() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// A random wait before repetition number `repetition` (from 1).
    pub(crate) fn backoff(&self, repetition: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(repetition.saturating_sub(1));
        let bound = self.initial_backoff.saturating_mul(doubled).min(self.max_backoff);
        bound.mul_f64(random_fraction())
    }
}

/// From 0 to below 1. Where the system gives no randomness, the whole wait is a safe one.
fn random_fraction() -> f64 {
    let Ok(bytes) = random_bytes::<4>() else { return 1.0 };
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// Whether a call may be sent again once it is not known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A read, a signature, or a change with a request id.
    Safe,
    /// Anything else.
    Never,
}

/// Thousandths of a token.
const TOKEN: i64 = 1000;

/// The bucket that all clones of a client share.
#[derive(Debug)]
pub(crate) struct Budget {
    capacity: i64,
    refill: i64,
    left: AtomicI64,
}

impl Budget {
    pub(crate) fn new(policy: &RetryPolicy) -> Self {
        let capacity = i64::from(policy.budget_tokens) * TOKEN;
        Self { capacity, refill: i64::from(policy.budget_refill), left: AtomicI64::new(capacity) }
    }

    pub(crate) fn success(&self) {
        self.change(self.refill);
    }

    /// Takes a token for a failure, and says whether a repetition is within the budget.
    pub(crate) fn failure(&self) -> bool {
        self.change(-TOKEN) > self.capacity / 2
    }

    fn change(&self, by: i64) -> i64 {
        let next = |left: i64| (left + by).clamp(0, self.capacity);
        // Nothing else is ordered by it.
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(next(left))) {
            Ok(before) | Err(before) => next(before),
        }
    }
}

/// For how long the service asks to wait before such a failure is tried again; `None` where that cannot help, or must not be
/// done by itself.
pub(crate) fn pushback(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::Refused(refusal) => match refusal.code {
            Code::Unavailable => Some(refusal.retry_after.unwrap_or_default()),
            Code::ResourceExhausted => refusal.retry_after,
            _ => None,
        },
        ClientError::Connection { problem, .. } => match problem {
            ConnectProblem::NotListening | ConnectProblem::NoAnswer | ConnectProblem::Other(_) => Some(Duration::ZERO),
            // A certificate or a name does not become right within seconds.
            ConnectProblem::UnknownHost
            | ConnectProblem::ServerCertificate(_)
            | ConnectProblem::ClientCertificate(_) => None,
        },
        ClientError::Shared(error) => pushback(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_random_below_a_bound_that_doubles_up_to_the_maximum() {
        let policy = RetryPolicy {
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_millis(300),
            ..RetryPolicy::default()
        };
        for (repetition, bound) in [(1, 100), (2, 200), (3, 300), (40, 300)] {
            let bound = Duration::from_millis(bound);
            let waits: Vec<Duration> = (0..200).map(|_| policy.backoff(repetition)).collect();
            assert!(waits.iter().all(|wait| *wait < bound), "{repetition}");
            // Full jitter reaches both ends: that 200 draws all miss a quarter has probability 1e-25.
            assert!(waits.iter().any(|wait| *wait < bound / 4) && waits.iter().any(|wait| *wait > bound / 4 * 3));
        }
    }

    #[test]
    fn the_budget_allows_half_of_its_tokens_and_fills_slowly() {
        let budget = Budget::new(&RetryPolicy { budget_tokens: 10, budget_refill: 500, ..RetryPolicy::default() });
        assert_eq!((0..20).filter(|_| budget.failure()).count(), 4, "the fifth failure leaves half");
        (0..11).for_each(|_| budget.success());
        assert!(!budget.failure(), "5.5 tokens less one are not more than half");
        (0..4).for_each(|_| budget.success());
        assert!(budget.failure(), "6.5 tokens less one are");
        (0..1000).for_each(|_| budget.success());
        assert_eq!((0..20).filter(|_| budget.failure()).count(), 4, "it never holds more than its size");
    }

    #[test]
    fn without_tokens_nothing_is_repeated() {
        let budget = Budget::new(&RetryPolicy { budget_tokens: 0, ..RetryPolicy::default() });
        budget.success();
        assert!(!budget.failure());
    }
}

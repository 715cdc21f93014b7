//! Those who wait for a checkpoint over a record: receipts, and proofs of what was just recorded.
//!
//! They do not sign: they say how far they want the log to be signed, and wait until it is or a try has failed. So all who
//! wait at one time are covered by one checkpoint, and the token is asked by one task alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{CheckpointStanding, Checkpoints, NewestCheckpoint};
use crate::Chancery;

/// How far apart checkpoints are at least that are asked for: what a busy service signs in between is covered by the next.
pub(super) const APART: Duration = Duration::from_millis(50);
/// How soon the token is asked again on request, after it did not sign.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Why no checkpoint covers a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncovered {
    /// There is no key to sign the log with.
    NotKept,
    /// It was tried in vain: the token does not sign, or too few witnesses cosign.
    Unsigned,
}

/// Returns once somebody wants more records to be covered than `signed`, and not before `soonest`.
pub(super) async fn wanted_beyond(wanted: &mut watch::Receiver<u64>, signed: u64, soonest: Instant) {
    loop {
        // Where the sender is gone, so is the service, and whoever waits for this finds that out.
        let gone = wanted.changed().await.is_err();
        if gone || *wanted.borrow_and_update() > signed {
            break;
        }
    }
    sleep_until(soonest).await;
}

impl Checkpoints {
    /// The newest checkpoint that counts, if it is one of the log's present name over this record.
    fn covering(&self, standing: &CheckpointStanding, index: u64) -> Option<Arc<NewestCheckpoint>> {
        let covers =
            |newest: &&Arc<NewestCheckpoint>| newest.size() > index && newest.origin() == self.settings.origin.as_str();
        standing.counted.as_ref().filter(covers).cloned()
    }
}

impl Chancery {
    /// A checkpoint that counts over the record at `index`, which is recorded: the newest, or the next one, which is made soon.
    /// Waits for it, and no longer than until a try has failed.
    pub(crate) async fn checkpoint_over(&self, index: u64) -> Result<Arc<NewestCheckpoint>, Uncovered> {
        let checkpoints = self.inner.checkpoints.as_ref().ok_or(Uncovered::NotKept)?;
        let mut standing = checkpoints.standing.subscribe();
        let failures = {
            let now = standing.borrow_and_update();
            if let Some(newest) = checkpoints.covering(&now, index) {
                return Ok(newest);
            }
            now.failures
        };
        // Where too few witnesses cosign, the next one would not count, either: they are asked again by and by.
        let in_vain = |now: &CheckpointStanding| now.failures != failures || now.too_few_cosign();
        checkpoints.wanted.send_modify(|wanted| *wanted = (*wanted).max(index.saturating_add(1)));
        let now = standing.wait_for(|now| checkpoints.covering(now, index).is_some() || in_vain(now)).await;
        let newest = now.ok().and_then(|now| checkpoints.covering(&now, index));
        newest.ok_or(Uncovered::Unsigned)
    }

    /// Returns once a checkpoint counts; `None` where one does, or where none ever will. Does not keep the service alive.
    pub(crate) fn first_to_count(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut standing = self.inner.checkpoints.as_ref()?.standing.subscribe();
        let none_counts = standing.borrow().counted.is_none();
        none_counts.then_some(async move { drop(standing.wait_for(|now| now.counted.is_some()).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_covered_wakes_nobody_and_who_is_not_does_after_a_while() {
        let sender = watch::Sender::new(7_u64);
        let mut wanted = sender.subscribe();
        let soonest = Instant::now() + APART;
        let mut waiting = Box::pin(wanted_beyond(&mut wanted, 9, soonest));
        let short = Duration::from_millis(5);
        assert!(tokio::time::timeout(short, &mut waiting).await.is_err(), "nobody asked");
        sender.send_replace(9);
        assert!(tokio::time::timeout(APART * 2, &mut waiting).await.is_err(), "nine are covered already");
        sender.send_replace(10);
        waiting.await;
        assert!(Instant::now() >= soonest);
    }

    #[tokio::test(start_paused = true)]
    async fn checkpoints_on_request_keep_their_distance() {
        let sender = watch::Sender::new(0_u64);
        let mut wanted = sender.subscribe();
        sender.send_replace(1);
        let (before, soonest) = (Instant::now(), Instant::now() + AFTER_FAILURE);
        wanted_beyond(&mut wanted, 0, soonest).await;
        assert_eq!(Instant::now() - before, AFTER_FAILURE);
        drop(sender);
        wanted_beyond(&mut wanted, 0, soonest).await;
    }
}

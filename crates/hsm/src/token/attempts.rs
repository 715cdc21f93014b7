//! One call to the token: through the queue into a lane, and once more where that is safe.

use super::Token;
use super::dispatch::{Call, CallFailure};
use super::progress::{Progress, Stage};
use crate::wire::{LaneRequest, Operation};
use crate::{HsmErrorKind, HsmFailure, SignTimes};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The first attempt and one retry.
const MOST_ATTEMPTS: u8 = 2;

/// What the token answered, and what it took.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// How often the token was asked: 1 or 2.
    pub(super) attempts: u8,
    /// The stages so far, all attempts together.
    pub(super) times: SignTimes,
}

impl Token {
    /// Asks the token, and has its answer judged before anybody sees it.
    ///
    /// Asks a second time, at most, where the failure says that it may help and the deadline allows: after the death
    /// of the worker, after a session that died, after an answer that was refused; always on a fresh session.
    pub(super) async fn ask<T>(
        &self,
        operation: Operation<'_>,
        deadline: Instant,
        judge: impl Fn(Answer) -> Result<T, HsmFailure>,
    ) -> Result<T, HsmFailure> {
        let mut attempts = 1;
        let mut may_have_acted = false;
        let mut no_session: Option<HsmFailure> = None;
        let mut times = SignTimes::default();
        loop {
            if Instant::now() >= deadline {
                // Nobody waits any more: an answer got now would be for nothing.
                let failure = no_session.unwrap_or_else(|| overrun(attempts - 1).failure);
                return Err(overall(failure, may_have_acted).with_attempts(attempts - 1));
            }
            // Another lane may get the retry, and what was lost or left over in one's session may be so in the other's, too.
            let frame = LaneRequest { fresh_session: attempts > 1, operation }.encode();
            let failed = match self.ask_once(frame, deadline, attempts > 1 || no_session.is_some(), &mut times).await {
                Ok(bytes) => match judge(Answer { bytes, attempts, times }) {
                    Ok(good) => return Ok(good),
                    Err(failure) => CallFailure { retry: true, ..CallFailure::last(failure) },
                },
                Err(failed) => failed,
            };
            let CallFailure { mut failure, retry, replace, not_asked } = failed;
            self.shared.note_failure(failure.kind);
            if not_asked {
                // Not an attempt: the lane rests, and the call waits for another one, or for this one's session.
                no_session = Some(failure);
                continue;
            }
            if failure.kind == HsmErrorKind::Deadline && failure.attempts == 0 {
                // It was for want of a session that no lane took it in time.
                failure = no_session.take().or_else(|| self.shared.dispatch.without_sessions()).unwrap_or(failure);
                failure.attempts = 0;
            }
            let (token, key) = (&self.shared.settings.id, operation.id().map(tracing::field::display));
            if failure.kind == HsmErrorKind::WrongSignature {
                tracing::error!(%token, key, %failure, "the token lies");
            }
            if let Some(generation) = replace {
                self.shared.replace_on_request(generation, failure.kind, &failure.message);
            }
            if !retry || attempts == MOST_ATTEMPTS || Instant::now() >= deadline {
                let asked = if failure.attempts == 0 { attempts - 1 } else { attempts };
                return Err(overall(failure, may_have_acted).with_attempts(asked));
            }
            may_have_acted |= operation.uses_the_key_to_sign() && outcome_unknown(failure.kind);
            tracing::warn!(%token, key, %failure, operation = operation.as_str(), "the token is asked once more");
            attempts += 1;
        }
    }

    async fn ask_once(
        &self,
        frame: Vec<u8>,
        deadline: Instant,
        again: bool,
        times: &mut SignTimes,
    ) -> Result<Vec<u8>, CallFailure> {
        let (reply, answer) = oneshot::channel();
        let progress = Arc::new(Progress::begin());
        let flow = self.flow;
        let call = Call { flow, frame, deadline, again, progress: Arc::clone(&progress), stage: Stage::queue(), reply };
        self.shared.dispatch.submit(call).map_err(CallFailure::last)?;
        let answer = timeout_at(deadline, answer).await;
        let (queue, device) = progress.times();
        times.queue += queue;
        times.device += device;
        match answer {
            Ok(Ok(end)) => end,
            // Dropped in the queue, where its time was over before a lane had room: the token was not asked.
            Ok(Err(_dropped)) => Err(overrun(0)),
            Err(_elapsed) if progress.was_sent() => {
                self.shared.suspect();
                Err(overrun(1))
            }
            // It still waits for a lane, and is passed over when its turn comes.
            Err(_elapsed) => Err(overrun(0)),
        }
    }
}

/// Whether the token may have acted although the attempt failed.
const fn outcome_unknown(kind: HsmErrorKind) -> bool {
    matches!(kind, HsmErrorKind::OutcomeUnknown | HsmErrorKind::WorkerLost | HsmErrorKind::Deadline)
}

/// The failure of the whole call: where an earlier attempt may have signed, a later refusal does not make that unhappen.
fn overall(last: HsmFailure, may_have_acted: bool) -> HsmFailure {
    if !may_have_acted || outcome_unknown(last.kind) {
        return last;
    }
    let message = format!("whether the first attempt signed is not known; the second: {}", last.message);
    HsmFailure { kind: HsmErrorKind::OutcomeUnknown, message, ..last }
}

fn overrun(attempts: u8) -> CallFailure {
    let message = "the token did not answer by the deadline";
    CallFailure::last(HsmFailure { attempts, ..HsmFailure::new(HsmErrorKind::Deadline, message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_stays_unknown_whatever_comes_after() {
        let refused = || HsmFailure::new(HsmErrorKind::TokenAbsent, "the token is gone");
        assert_eq!(overall(refused(), false).kind, HsmErrorKind::TokenAbsent);
        let unknown = overall(refused(), true);
        assert_eq!(unknown.kind, HsmErrorKind::OutcomeUnknown);
        assert!(unknown.message.contains("the token is gone"), "{}", unknown.message);
        let lost = HsmFailure::new(HsmErrorKind::WorkerLost, "lost");
        assert_eq!(overall(lost.clone(), true), lost);
    }
}

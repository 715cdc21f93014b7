//! What a crash left: intents without outcome, and key pairs whose making was recorded and not completed.
//!
//! An intent to sign is closed as `unknown`: whether the token signed cannot be known. A key pair is looked for in the
//! token under the CKA_ID that was recorded before it was asked for: a whole pair is adopted, anything less is destroyed.
//! A destruction that was begun is done again: there is no way back from it. An adoption is taken back, and the token is not
//! asked: the key in it is somebody's, as it was before. All of it is on the record.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::OutcomeResult;
use chancery_fail_point::FailPoint;
use chancery_hsm::{HsmErrorKind, HsmFailure, KeyPresence, Token};
use chancery_model::{Action, Algorithm, KeyState, KeyVersionName, Uid};
use chancery_store::OpenIntent;
use tokio::time::Instant;

use crate::destruction::is_begun;
use crate::generate::Made;
use crate::told::Told;
use crate::{Chancery, Error, details};

/// How long the token may take to answer what it holds.
pub(crate) const INSPECTION_DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait before an unfinished reservation is looked at again: at first, and at most. What does not cure itself, such as
/// another key under the same CKA_ID, waits for somebody.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What was recorded and not completed.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    /// Index of the open act.
    pub act: u64,
    pub uid: Uid,
    pub version: KeyVersionName,
    pub algorithm: Algorithm,
    pub work: Work,
}

/// Which act of the token is to be brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A key is made.
    Generation,
    /// A key of the token's proves itself, to be adopted.
    Adoption,
    /// A version is destroyed.
    Destruction,
}

impl Chancery {
    /// Closes this instance's open intents. Says which acts are open.
    pub(crate) async fn close_intents_that_a_crash_left(&self) -> Result<Vec<OpenIntent>, Error> {
        let (reader, instance) = (self.inner.reader.clone(), self.inner.instance.clone());
        let open = crate::blocking(move || reader.open_intents(&instance)).await??;
        self.inner.log.close_open_intents(&open).await?;
        FailPoint::OpenIntentsClosed.pass();
        let (acts, intents): (Vec<_>, Vec<_>) = open.into_iter().partition(|intent| intent.act);
        if !intents.is_empty() {
            let intents = intents.len();
            tracing::warn!(intents, "the last run left intents without outcome; they are recorded as unknown");
        }
        Ok(acts)
    }

    /// Closes acts that were open when the service started. A reservation whose token does not answer now is tried again
    /// until it does; the service comes up meanwhile.
    pub(crate) async fn close_acts_that_a_crash_left(&self, open: &[OpenIntent]) -> Result<(), Error> {
        let snapshot = self.snapshot();
        for intent in open {
            let leaf = chancery_audit::Leaf::decode(&intent.leaf).map_err(|error| {
                Error::internal(format!("the open record {} cannot be read: {error}", intent.index))
            })?;
            if leaf.action() == Some(Action::ClearPinLatch) {
                // Whether the PIN was tried is not known. If it was, the latch file says how it ended.
                self.close_act(intent.index, OutcomeResult::Unknown, details::unknown_end(intent.index)).await?;
                continue;
            }
            let uid = leaf.resource();
            let reserved = snapshot.keys.values().find_map(|key| key.versions.values().find(|entry| entry.uid == uid));
            match reserved {
                // The list of what is open is not held to the seal: no entry in it makes a version active again.
                Some(entry) if !is_begun(entry) && entry.state != KeyState::PendingGeneration => {
                    tracing::error!(record = intent.index, version = %entry.name, "an open act concerns a version that waits for nothing");
                    self.close_act(intent.index, OutcomeResult::Unknown, details::unknown_end(intent.index)).await?;
                }
                Some(entry) => {
                    let (version, algorithm) = (entry.name.clone(), entry.algorithm);
                    let work = if is_begun(entry) {
                        Work::Destruction
                    } else if entry.adoption.is_some() {
                        Work::Adoption
                    } else {
                        Work::Generation
                    };
                    self.settle(Unfinished { act: intent.index, uid, version, algorithm, work }).await;
                }
                // A secret of the state, for example, whose row is written when it is made.
                None => {
                    tracing::warn!(record = intent.index, "an open act concerns no key version that is known");
                    self.close_act(intent.index, OutcomeResult::Unknown, details::unknown_end(intent.index)).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds out what the token holds of a reservation, and completes or withdraws it, or goes on destroying; tries again
    /// later where the token does not answer.
    pub(crate) async fn settle(&self, unfinished: Unfinished) {
        let serves = self.inner.rings.get(&unfinished.version.key.ring).and_then(|ring| self.token_of(ring).ok());
        let mut health = serves.map(Token::subscribe);
        // A token that is away is not waited for: it is asked when it is back.
        let asks = unfinished.work != Work::Adoption;
        let away = asks && health.as_ref().is_some_and(|health| !health.borrow().state.serves());
        let settled = if away { Ok(false) } else { self.try_to_settle(&unfinished).await.map(|()| true) };
        match settled {
            Ok(true) => return,
            Ok(false) => {
                tracing::warn!(version = %unfinished.version, "an unfinished key version waits: its token does not serve");
            }
            Err(error) => tracing::warn!(version = %unfinished.version, error = &error as &dyn std::error::Error,
                "an unfinished key version could not be settled yet"),
        }
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut retries = Retries::new();
            loop {
                if health.as_ref().is_some_and(|health| !health.borrow().state.serves()) {
                    retries = Retries::new();
                }
                crate::tokens::back_or_after(&mut health, retries.wait).await;
                let Some(inner) = inner.upgrade() else { return };
                match (Self { inner }).try_to_settle(&unfinished).await {
                    Ok(()) => return,
                    Err(error @ Error::RecordClosed { .. }) => {
                        tracing::error!(version = %unfinished.version, error = &error as &dyn std::error::Error,
                            "settled at the next start");
                        return;
                    }
                    Err(error) => {
                        let is_news = retries.failed(&error);
                        let (version, again_in_seconds) = (&unfinished.version, retries.wait.as_secs());
                        let error = &error as &dyn std::error::Error;
                        if is_news {
                            tracing::warn!(%version, error, again_in_seconds,
                                "not settled yet; it is tried again and again, and told of when that changes");
                        } else {
                            tracing::debug!(%version, error, again_in_seconds, "not settled yet");
                        }
                    }
                }
            }
        });
    }

    async fn try_to_settle(&self, unfinished: &Unfinished) -> Result<(), Error> {
        let Unfinished { act, uid, version, algorithm, work } = unfinished;
        match work {
            Work::Generation => {}
            Work::Adoption => {
                let nothing = nothing_left("the service stopped in the middle of it; nothing in the token was changed");
                return self.complete(*act, *uid, Err(&nothing)).await;
            }
            Work::Destruction => return self.go_on_destroying(unfinished).await,
        }
        let ring = self.any_ring(&version.key.ring);
        let ring = ring.ok_or_else(|| Error::NotFound { name: version.key.ring_name().to_string() })?;
        let token = self.token_of(ring)?;
        let deadline = Instant::now() + INSPECTION_DEADLINE;
        let failed = |failure| Error::Device { operation: Action::CreateKey, token: ring.token.clone(), failure };
        let presence = token.inspect((*uid).into(), *algorithm, deadline).await.map_err(failed)?;
        FailPoint::UnfinishedKeyInspected.pass();
        match presence {
            KeyPresence::Complete(generated) => {
                let made = Made::of(*algorithm, &generated)
                    .map_err(|error| Error::internal(format!("the public key of {version} is damaged: {error}")))?;
                tracing::warn!(%version, "a key that was made and not recorded as made is adopted");
                self.complete(*act, *uid, Ok(&made)).await
            }
            KeyPresence::Partial { private, public, secret } => {
                tracing::warn!(%version, private, public, secret, "half a key pair is destroyed");
                token.destroy((*uid).into(), deadline).await.map_err(failed)?;
                self.complete(*act, *uid, Err(&nothing_left("half a key pair was left, and is destroyed"))).await
            }
            KeyPresence::Unfit { why } => {
                tracing::warn!(%version, why, "a key pair that cannot be used is destroyed");
                token.destroy((*uid).into(), deadline).await.map_err(failed)?;
                self.complete(
                    *act,
                    *uid,
                    Err(&nothing_left(&format!("a key pair was left that cannot be used, and is destroyed: {why}"))),
                )
                .await
            }
            KeyPresence::Absent => self.complete(*act, *uid, Err(&nothing_left("the token holds nothing of it"))).await,
        }
    }
}

/// How often something is tried again, and what was said of it.
struct Retries {
    wait: Duration,
    told: Told,
}

impl Retries {
    fn new() -> Self {
        Self { wait: RETRY_AFTER, told: Told::default() }
    }

    /// Waits for longer the next time. Whether this is another failure than the one before.
    fn failed(&mut self, error: &Error) -> bool {
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.told.is_news(error)
    }
}

fn nothing_left(message: &str) -> HsmFailure {
    HsmFailure {
        kind: HsmErrorKind::OutcomeUnknown,
        function: None,
        return_code: None,
        attempts: 1,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str) -> Error {
        let token = chancery_model::Id::parse("the token", "main").unwrap();
        Error::Device { operation: Action::ScheduleKeyVersionDestruction, token, failure: nothing_left(message) }
    }

    #[test]
    fn what_fails_again_and_again_is_tried_less_often_and_said_once() {
        let mut retries = Retries::new();
        let (ambiguous, absent) = (failure("another key has its CKA_ID"), failure("the token is away"));
        let mut waits = vec![retries.wait.as_secs()];
        let news: Vec<bool> =
            [&ambiguous, &ambiguous, &ambiguous, &absent, &absent, &ambiguous, &ambiguous, &ambiguous]
                .map(|error| {
                    let is_news = retries.failed(error);
                    waits.push(retries.wait.as_secs());
                    is_news
                })
                .into();
        assert_eq!(news, [true, false, false, true, false, true, false, false]);
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }
}

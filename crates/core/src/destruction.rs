//! Destroying what is to be destroyed: recorded first, then done in the token, then looked for there, then recorded as done.
//!
//! From the record on there is no way back. Where the token does not answer, or the service ends, the destruction is gone
//! on with until it is done (see `sweep`).

use chancery_audit::{Outcome, OutcomeItem, OutcomeResult, RecordError, Recorded};
use chancery_crypto::PublicKey;
use chancery_fail_point::FailPoint;
use chancery_hsm::{HsmErrorKind, HsmFailure, KeyPresence, Token};
use chancery_model::{KeyState, Step, Timestamp, TokenObjectId, Transition, Uid, VersionLife};
use chancery_store::{KeyVersionRow, RowChange};
use tokio::time::Instant;

use crate::change::{ATTEMPTS, Done, Plan};
use crate::details;
use crate::schedule::{ByRule, Due, is_due};
use crate::state::{KeyEntry, VersionEntry};
use crate::sweep::{INSPECTION_DEADLINE, Unfinished, Work};
use crate::{Chancery, Error};

impl Chancery {
    /// Destroys a version whose time has come. Whether it did; not where it is not due any more.
    pub(crate) async fn destroy_by_rule(&self, rule: ByRule, version: Uid) -> Result<bool, Error> {
        let token = {
            let snapshot = self.snapshot();
            let (key, _) = snapshot.version(version)?;
            self.token_of_key(&key.name)?.clone()
        };
        let objects = self.objects_of(version)?;
        let begun = self
            .change(|snapshot| {
                let now = self.inner.clock.now();
                let (key, entry) = snapshot.version(version)?;
                if !is_due(snapshot, key, Due::Destroy(entry.name.version), now) {
                    return Ok(Plan::Nothing(()));
                }
                let life = VersionLife { before_destruction: None, ..entry.life.clone() };
                let row = KeyVersionRow { life, ..entry.to_row() };
                let act = details::by_rule(None, &entry.name, entry.uid, "its destruction is due, and begins", true);
                let then = unfinished(key, entry);
                Ok(Plan::Change { rows: vec![RowChange::PutKeyVersion(row)], act: Box::new(act), then })
            })
            .await?;
        let Done::Changed { recorded, then, .. } = begun else { return Ok(false) };
        let unfinished = then(recorded.index());
        let end = ask_token(&rule, &recorded, &token, &unfinished, objects).await;
        FailPoint::VersionDestroyed.pass();
        // It has begun, and so it is brought to its end, whatever is in the way now.
        match end {
            Ok(()) => {
                if let Err(error) = self.complete_destruction(unfinished.act, unfinished.uid).await {
                    tracing::warn!(version = %unfinished.version, error = &error as &dyn std::error::Error,
                        "a version was destroyed in its token, and that could not be recorded yet");
                    self.settle(unfinished).await;
                }
            }
            Err(failure) => {
                tracing::warn!(version = %unfinished.version, %failure, "the token did not destroy a version; it is asked again");
                self.settle(unfinished).await;
            }
        }
        Ok(true)
    }

    /// Asks the token again for a destruction that an earlier record began.
    pub(crate) async fn go_on_destroying(&self, unfinished: &Unfinished) -> Result<(), Error> {
        let Unfinished { act, uid, version, .. } = unfinished;
        let ring = self.ring_of(&version.key)?;
        destroy(self.token_of(ring)?, unfinished, self.objects_of(*uid)?).await.map_err(|failure| Error::Device {
            operation: chancery_model::Action::ScheduleKeyVersionDestruction,
            token: ring.token.clone(),
            failure,
        })?;
        self.complete_destruction(*act, *uid).await
    }

    /// Which objects are to be destroyed, whether Chancery made them, and by what they are known.
    fn objects_of(&self, version: Uid) -> Result<Objects, Error> {
        let snapshot = self.snapshot();
        let (_, entry) = snapshot.version(version)?;
        Ok(Objects { id: entry.object_id(), adopted: entry.adoption.is_some(), public: entry.public.clone() })
    }

    /// Closes a destruction that is done: the version is DESTROYED. Row, epoch and outcome are one transaction.
    async fn complete_destruction(&self, act: u64, version: Uid) -> Result<(), Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            let (_, entry) = snapshot.version(version)?;
            let state = match entry.state.step(Transition::Destroy) {
                Step::To(state) => state,
                Step::Nothing | Step::Back | Step::Mark | Step::Refused => entry.state,
            };
            let row = KeyVersionRow { state, state_changed: self.inner.clock.now(), ..entry.to_row() };
            let rows = vec![RowChange::PutKeyVersion(row)];
            let items = vec![OutcomeItem { intent: act, result: OutcomeResult::Done, signature_sha256: None }];
            let details = details::destruction_end(act, &entry.name);
            let outcome = Outcome { time: Timestamp::now(), items, details };
            match self.inner.log.complete(snapshot.epoch, rows.clone(), outcome).await {
                Ok(changed) => {
                    self.install(snapshot.after(changed.epoch, &rows)?);
                    return Ok(());
                }
                Err(RecordError::StaleEpoch) => self.reload().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::StateChanging)
    }
}

fn unfinished(key: &KeyEntry, entry: &VersionEntry) -> impl FnOnce(u64) -> Unfinished + use<> {
    let (uid, version, algorithm) = (entry.uid, entry.name.clone(), key.algorithm);
    move |act| Unfinished { act, uid, version, algorithm, work: Work::Destruction }
}

/// The only place where a token is first asked to destroy a version. It takes the rule that has come due and its record.
async fn ask_token(
    _rule: &ByRule,
    _recorded: &Recorded,
    token: &Token,
    what: &Unfinished,
    objects: Objects,
) -> Result<(), HsmFailure> {
    FailPoint::DestructionBegun.pass();
    destroy(token, what, objects).await
}

/// The objects of a version in its token.
struct Objects {
    id: TokenObjectId,
    adopted: bool,
    public: Option<PublicKey>,
}

/// Destroys the objects, and then looks whether any is left: what a token says of its own work is not proof.
async fn destroy(token: &Token, what: &Unfinished, objects: Objects) -> Result<(), HsmFailure> {
    let Objects { id, adopted, public } = objects;
    let deadline = Instant::now() + INSPECTION_DEADLINE;
    let objects = if adopted {
        token.destroy_adopted(id, what.algorithm, public.as_ref(), deadline).await?
    } else {
        token.destroy(id, deadline).await?
    };
    match token.inspect(id, what.algorithm, deadline).await? {
        KeyPresence::Absent => {
            tracing::info!(version = %what.version, objects, "a version was destroyed in its token");
            Ok(())
        }
        KeyPresence::Complete(_) | KeyPresence::Partial { .. } | KeyPresence::Unfit { .. } => Err(HsmFailure {
            kind: HsmErrorKind::OutcomeUnknown,
            function: Some("C_FindObjects"),
            return_code: None,
            attempts: 1,
            message: "the token still shows objects of a version that it has destroyed".to_owned(),
        }),
    }
}

/// Whether the token has been asked to destroy this version, and has not yet answered that it is gone.
pub(crate) fn is_begun(version: &VersionEntry) -> bool {
    version.state == KeyState::DestroyScheduled && version.life.before_destruction.is_none()
}

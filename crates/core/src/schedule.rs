//! What the rules of keys ask for, at its time: the next version made and published, then taking over, old ones deactivated,
//! and those whose grace period is over destroyed.
//!
//! Each act is decided on the state of its epoch and committed with its record, as every change is: two schedulers, a
//! restart, or an administrator who is faster find that nothing is due any more. After a time without service each key
//! is rotated once. The acts are the service's own; that there is a rule was permitted when it was laid down.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chancery_model::{Action, Id, KeyName, KeyState, Timestamp, Uid, VersionLife};
use chancery_store::{KeyRow, KeyVersionRow, RowChange};
use tokio::task::{JoinHandle, JoinSet};

use crate::change::{Done, Plan};
use crate::details;
use crate::generate::{Generation, Warrant, to_be_made};
use crate::rotation::{number_of_next, rows_of_take_over};
use crate::rules::of_seconds;
use crate::state::{KeyEntry, Snapshot, VersionEntry};
use crate::{Chancery, Error, Observation};

mod due;
mod pauses;

pub use due::Due;
pub(crate) use due::is_due;
use due::{all_due, planned_activation, set_back};
use pauses::Pauses;

/// A rule of a key that has come due. Made here only, where the rules are read.
#[derive(Debug)]
pub(crate) struct ByRule(());

/// What a look at all keys came to.
#[derive(Debug, Default)]
pub struct ScheduleReport {
    /// What was done, in order.
    pub done: Vec<(KeyName, Due)>,
    /// What could not be done; it is still due.
    pub failed: Vec<(KeyName, Due, Error)>,
}

/// A key that may have something due; one that is made anew in the same name is another.
type Whose = (KeyName, Uid);

impl Chancery {
    /// Does once what the rules of all keys ask for now, and waits for it.
    pub async fn act_on_schedule(&self) -> ScheduleReport {
        let pauses = Arc::new(Pauses::default());
        let mut report = self.act_without_tokens(&pauses).await;
        let mut tokens = JoinSet::new();
        for (_, keys) in self.due_in_tokens(&pauses) {
            let (this, pauses) = (self.clone(), Arc::clone(&pauses));
            tokens.spawn(async move { this.act_in_token(keys, &pauses).await });
        }
        for ScheduleReport { done, failed } in tokens.join_all().await {
            report.done.extend(done);
            report.failed.extend(failed);
        }
        report
    }

    /// Looks at the rules every [`crate::Limits::schedule_interval`], as long as the service lives.
    ///
    /// What needs no token comes first, and each token has a task of its own, so that one that hangs keeps neither the keys of
    /// the others waiting nor what is done to its own keys without it.
    pub(crate) fn keep_schedule(&self) {
        let (inner, interval) = (Arc::downgrade(&self.inner), self.inner.limits.schedule_interval);
        tokio::spawn(async move {
            let pauses = Arc::new(Pauses::default());
            let mut busy: HashMap<Id, JoinHandle<()>> = HashMap::new();
            loop {
                tokio::time::sleep(interval).await;
                let Some(inner) = inner.upgrade() else { return };
                let this = Self { inner };
                pauses.forget_old();
                let report = this.act_without_tokens(&pauses).await;
                pauses.note(report);
                busy.retain(|_, task| !task.is_finished());
                for (token, keys) in this.due_in_tokens(&pauses) {
                    busy.entry(token).or_insert_with(|| {
                        let (this, pauses) = (this.clone(), Arc::clone(&pauses));
                        tokio::spawn(async move {
                            let report = this.act_in_token(keys, &pauses).await;
                            pauses.note(report);
                        })
                    });
                }
                if pauses.record_is_closed() {
                    // Nothing is changed any more until the service was started again.
                    return;
                }
            }
        });
    }

    /// Does what needs no token, of all keys.
    async fn act_without_tokens(&self, pauses: &Pauses) -> ScheduleReport {
        let now = self.inner.clock.now();
        let wanted = |state: &Snapshot, key: &KeyEntry, due: Due| {
            !pauses.rests(&key.name, due)
                && !waits_for_successor(key, due, pauses)
                && !waits_for_token(state, key, due, now, pauses)
        };
        let mut report = ScheduleReport::default();
        for whose in self.due_now(wanted) {
            self.act_on(&whose, wanted, &mut report).await;
        }
        report
    }

    /// Does all that is due of these keys, which are in one token.
    async fn act_in_token(&self, keys: Vec<Whose>, pauses: &Pauses) -> ScheduleReport {
        let mut report = ScheduleReport::default();
        for whose in keys {
            let wanted = |_: &Snapshot, key: &KeyEntry, due: Due| {
                !pauses.rests(&key.name, due) && !waits_for_successor(key, due, pauses)
            };
            self.act_on(&whose, wanted, &mut report).await;
        }
        report
    }

    /// The keys of which something is due that their tokens are needed for.
    fn due_in_tokens(&self, pauses: &Pauses) -> BTreeMap<Id, Vec<Whose>> {
        let now = self.inner.clock.now();
        let mut tokens: BTreeMap<Id, Vec<Whose>> = BTreeMap::new();
        for whose in self
            .due_now(|state, key, due| !pauses.rests(&key.name, due) && waits_for_token(state, key, due, now, pauses))
        {
            // A ring that is no longer configured has no token, and nothing can be done about its keys.
            if let Some(ring) = self.inner.rings.get(&whose.0.ring) {
                tokens.entry(ring.token.clone()).or_default().push(whose);
            }
        }
        tokens
    }

    fn due_now(&self, wanted: impl Fn(&Snapshot, &KeyEntry, Due) -> bool) -> Vec<Whose> {
        let (snapshot, now) = (self.snapshot(), self.inner.clock.now());
        let keys =
            snapshot.keys.values().filter(|key| all_due(&snapshot, key, now).any(|due| wanted(&snapshot, key, due)));
        keys.map(|key| (key.name.clone(), key.uid)).collect()
    }

    /// Does what is due of a key, as far as it is wanted: each act is decided on what the one before has left. One that fails
    /// keeps none of the others from being done: a version's time to sign ends although the next one cannot be made.
    async fn act_on(
        &self,
        whose: &Whose,
        wanted: impl Fn(&Snapshot, &KeyEntry, Due) -> bool,
        report: &mut ScheduleReport,
    ) {
        let (name, uid) = whose;
        let mut tried = HashSet::new();
        while let Some(due) =
            self.due_of(name, *uid, |state, key, due| !tried.contains(&due) && wanted(state, key, due))
        {
            tried.insert(due);
            let this = self.clone();
            let key = name.clone();
            let end = self.to_the_end(async move { this.act(&key, due).await }).await;
            self.observe(Observation::ByRule { due, failed: end.is_err() });
            match end {
                Ok(true) => {
                    tracing::info!(key = %name, rule = due.as_str(), "done by a key's rule");
                    report.done.push((name.clone(), due));
                }
                Ok(false) => {}
                Err(error) => report.failed.push((name.clone(), due, error)),
            }
        }
    }

    fn due_of(&self, name: &KeyName, uid: Uid, which: impl Fn(&Snapshot, &KeyEntry, Due) -> bool) -> Option<Due> {
        let snapshot = self.snapshot();
        let key = snapshot.keys.get(name).filter(|key| key.uid == uid)?;
        all_due(&snapshot, key, self.inner.clock.now()).find(|due| which(&snapshot, key, *due))
    }

    /// Does what is due, if it still is. Whether there was anything to do.
    async fn act(&self, key: &KeyName, due: Due) -> Result<bool, Error> {
        match due {
            Due::CorrectPlan => self.by_rule(key, due, corrected_plan).await,
            Due::TakeOver(number) => {
                self.by_rule(key, due, |key, now| {
                    let rows = rows_of_take_over(key, version(key, number)?, None, now);
                    let why = "published long enough: it is the primary version from now on";
                    Ok((rows, details::by_rule_on(key, number, Some(Action::RotateKey), why)))
                })
                .await
            }
            Due::Deactivate(number) => {
                self.by_rule(key, due, |key, now| {
                    let entry = version(key, number)?;
                    let state = KeyState::Deactivated;
                    let row = KeyVersionRow { state, state_changed: now, ..entry.to_row() };
                    let why = "it has signed for as long as its key's signing period says";
                    let act = details::by_rule_on(key, number, Some(Action::DeactivateKeyVersion), why);
                    Ok((vec![RowChange::PutKeyVersion(row)], act))
                })
                .await
            }
            Due::MakeNext => self.make_next(key).await,
            Due::Destroy(number) => {
                let snapshot = self.snapshot();
                let uid = snapshot.keys.get(key).and_then(|key| Some(key.versions.get(&number)?.uid));
                match uid {
                    Some(uid) => self.destroy_by_rule(ByRule(()), uid).await,
                    None => Ok(false),
                }
            }
        }
    }

    /// A change of rows alone.
    async fn by_rule(
        &self,
        name: &KeyName,
        due: Due,
        change: impl Fn(&KeyEntry, Timestamp) -> Result<(Vec<RowChange>, chancery_audit::Act), Error>,
    ) -> Result<bool, Error> {
        let done = self
            .change(|snapshot| {
                let now = self.inner.clock.now();
                let key = key(snapshot, name)?;
                if !is_due(snapshot, key, due, now) {
                    return Ok(Plan::Nothing(()));
                }
                let (rows, act) = change(key, now)?;
                Ok(Plan::Change { rows, act: Box::new(act), then: () })
            })
            .await?;
        Ok(matches!(done, Done::Changed { .. }))
    }

    async fn make_next(&self, name: &KeyName) -> Result<bool, Error> {
        let begun = self
            .change(|snapshot| {
                let now = self.inner.clock.now();
                let key = key(snapshot, name)?;
                if !is_due(snapshot, key, Due::MakeNext, now) {
                    return Ok(Plan::Nothing(()));
                }
                let activation = planned_activation(key, now);
                let life = VersionLife { activation, ..VersionLife::default() };
                let row = KeyVersionRow { life, ..to_be_made(key.uid, number_of_next(key)?, now)? };
                let version = key.name.version(row.version);
                let token = self.token_of(self.ring_of(&key.name)?)?.clone();
                let why = if activation.is_some() {
                    "the next version is made, to be published"
                } else {
                    "its key's rotation period is over"
                };
                let act = details::by_rule(Some(Action::RotateKey), &version, row.uid, why, true);
                let warrant = Warrant::Rule(ByRule(()));
                let place = self.inner.in_flight.enter(row.uid, snapshot.epoch);
                let generation = Generation::new(warrant, &row, version, key.algorithm, token, place);
                Ok(Plan::Change { rows: vec![RowChange::PutKeyVersion(row)], act: Box::new(act), then: generation })
            })
            .await?;
        match begun {
            Done::Nothing(()) => Ok(false),
            Done::Changed { recorded, then, .. } => self.finish_generation(recorded, then).await.map(|_| true),
        }
    }
}

/// Whether an act waits until the key's token has been asked: it needs the token, or ends an old version's time while the
/// next one is about to be made. That comes first, so that there is always one. A token that hangs is not waited for without end.
fn waits_for_token(state: &Snapshot, key: &KeyEntry, due: Due, now: Timestamp, pauses: &Pauses) -> bool {
    match due {
        Due::MakeNext | Due::Destroy(_) => true,
        Due::Deactivate(_) => {
            is_due(state, key, Due::MakeNext, now)
                && !pauses.rests(&key.name, Due::MakeNext)
                && pauses.may_wait(&key.name, due)
        }
        Due::CorrectPlan | Due::TakeOver(_) => false,
    }
}

/// Whether an old version's time goes on because its successor is being made, by whomever. One that will be published first is
/// none: it was not planned to sign at once.
fn waits_for_successor(key: &KeyEntry, due: Due, pauses: &Pauses) -> bool {
    let is_successor =
        |version: &VersionEntry| version.state == KeyState::PendingGeneration && version.life.activation.is_none();
    matches!(due, Due::Deactivate(_))
        && key.versions.values().any(|version| is_successor(version))
        && pauses.may_wait(&key.name, due)
}

fn key<'a>(snapshot: &'a Snapshot, name: &KeyName) -> Result<&'a Arc<KeyEntry>, Error> {
    snapshot.keys.get(name).ok_or_else(|| Error::NotFound { name: name.to_string() })
}

fn version(key: &KeyEntry, number: u32) -> Result<&Arc<VersionEntry>, Error> {
    let name = || key.name.version(number).to_string();
    key.versions.get(&number).ok_or_else(|| Error::NotFound { name: name() })
}

fn corrected_plan(key: &KeyEntry, now: Timestamp) -> Result<(Vec<RowChange>, chancery_audit::Act), Error> {
    let next_rotation = set_back(key, now).or(key.rules.next_rotation);
    let mut row = KeyRow { updated: now, ..key.to_row() };
    row.rules.next_rotation = next_rotation;
    let mut rows = vec![RowChange::PutKey(row)];
    if let Some(planned) = key.planned() {
        // Published for as long as the rule says in any case: who looked under the wrong clock may not have seen it.
        let published = now.after(of_seconds(key.rules.publish_ahead_seconds.unwrap_or(0)));
        let activation = next_rotation.map(|next| next.max(published));
        let life = VersionLife { activation, ..planned.life.clone() };
        rows.push(RowChange::PutKeyVersion(KeyVersionRow { life, ..planned.to_row() }));
    }
    let why = "the clock was set back: what was planned under the wrong one is planned anew";
    Ok((rows, details::key_by_rule(key, Action::UpdateKey, why)))
}

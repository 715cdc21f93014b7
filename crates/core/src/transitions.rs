//! What is done to versions on demand: suspended, resumed, deactivated, marked as compromised, and their destruction
//! scheduled and cancelled. Which of it is possible is the model's table.

use std::sync::Arc;
use std::time::Duration;

use chancery_model::{Action, KeyState, KeyVersionName, Step, Timestamp, Transition, VersionLife};
use chancery_policy::OperationContext;
use chancery_store::{KeyVersionRow, RowChange};
use tokio::time::Instant;

use crate::change::{Done, Plan};
use crate::details;
use crate::keys::{AllowedKey, KeyOrVersion};
use crate::state::VersionEntry;
use crate::{Chancery, Error, Requester};

/// How long a version waits for its destruction where nothing is said: 30 days.
pub const DEFAULT_DESTRUCTION_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);
/// The least that can be said, but in the environment `dev`: 24 hours.
const SHORTEST_GRACE: Duration = Duration::from_secs(24 * 3600);
/// The most: 365 days.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A version that no longer signs, and what was still under way.
#[derive(Debug, Clone)]
pub struct Stopped {
    /// The version.
    pub version: Arc<VersionEntry>,
    /// Indexes of intents of this version that had not ended when the wait was over.
    pub open_intents: Vec<u64>,
}

/// A transition that somebody asks for, and why.
struct Asked<'a> {
    action: Action,
    transition: Transition,
    reason: &'a str,
}

impl Chancery {
    /// Stops an ACTIVE version from signing, and waits for the intents that were recorded before. Asked again of a
    /// SUSPENDED version, it changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], and those of the record.
    pub async fn suspend_key_version(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
    ) -> Result<Stopped, Error> {
        self.stop(from, name, reason, Action::SuspendKeyVersion, Transition::Suspend, no_more).await
    }

    /// Lets a SUSPENDED version sign again. Asked again of an ACTIVE version, it changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], and those of the record.
    pub async fn resume_key_version(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
    ) -> Result<Arc<VersionEntry>, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let asked = Asked { action: Action::ResumeKeyVersion, transition: Transition::Resume, reason: &reason };
            this.turn(&from, &name, asked, no_more).await
        })
        .await
    }

    /// Retires an ACTIVE or SUSPENDED version for good: it verifies, and never signs again. Waits as a suspension does.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], and those of the record.
    pub async fn deactivate_key_version(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
    ) -> Result<Stopped, Error> {
        self.stop(from, name, reason, Action::DeactivateKeyVersion, Transition::Deactivate, no_more).await
    }

    /// Says that somebody else may sign with the version: it signs no more, its public key is published no more, and its
    /// signatures are answered as in doubt. Waits as a suspension does. A version whose destruction is scheduled or done
    /// keeps its state, and is marked.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], and those of the record.
    pub async fn mark_key_version_compromised(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
    ) -> Result<Stopped, Error> {
        self.stop(from, name, reason, Action::MarkKeyVersionCompromised, Transition::Compromise, |life, turn| {
            let before_destruction = life.before_destruction.map(|_| KeyState::Compromised);
            Ok(VersionLife { compromised: Some(turn.now), before_destruction, ..life })
        })
        .await
    }

    /// Stops a version and has it destroyed when the grace period is over ([`DEFAULT_DESTRUCTION_GRACE`] where none is
    /// given). Waits as a suspension does.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], [`Error::DeletionProtected`],
    /// [`Error::InvalidField`] for a grace period that the ring's environment does not allow, and those of the record.
    pub async fn schedule_key_version_destruction(
        &self,
        from: &Requester,
        name: KeyVersionName,
        grace: Option<Duration>,
        reason: String,
    ) -> Result<Stopped, Error> {
        let grace = grace.unwrap_or(DEFAULT_DESTRUCTION_GRACE);
        let action = Action::ScheduleKeyVersionDestruction;
        self.stop(from, name, reason, action, Transition::ScheduleDestruction, move |life, turn| {
            let AllowedKey { key, ring, .. } = turn.allowed;
            if key.rules.deletion_protection {
                return Err(Error::DeletionProtected { key: key.name.clone() });
            }
            check_grace(grace, ring.is_dev())?;
            let before_destruction = Some(turn.version.state);
            Ok(VersionLife { destroy_at: Some(turn.now.after(grace)), before_destruction, ..life })
        })
        .await
    }

    /// Takes back a destruction that is scheduled and not begun: the version is what it was before.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], [`Error::DestructionBegun`], and those of the
    /// record.
    pub async fn cancel_key_version_destruction(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
    ) -> Result<Arc<VersionEntry>, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let (action, transition) = (Action::CancelKeyVersionDestruction, Transition::CancelDestruction);
            this.turn(&from, &name, Asked { action, transition, reason: &reason }, |life, _| {
                Ok(VersionLife { destroy_at: None, before_destruction: None, ..life })
            })
            .await
        })
        .await
    }

    /// A transition after which the version does not sign; answers when no signature of it is under way any more.
    async fn stop(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
        action: Action,
        transition: Transition,
        life: impl Fn(VersionLife, &Turn<'_>) -> Result<VersionLife, Error> + Send + Sync + 'static,
    ) -> Result<Stopped, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let asked = Asked { action, transition, reason: &reason };
            let version = this.turn(&from, &name, asked, life).await?;
            let deadline = Instant::now() + this.inner.limits.suspend_wait;
            let epoch = this.snapshot().epoch;
            let open_intents = this.inner.in_flight.wait_for_older(version.uid, epoch, deadline).await;
            Ok(Stopped { version, open_intents })
        })
        .await
    }

    /// Takes a version from its state to the next one; `life` says what else of it changes.
    async fn turn(
        &self,
        from: &Requester,
        name: &KeyVersionName,
        asked: Asked<'_>,
        life: impl Fn(VersionLife, &Turn<'_>) -> Result<VersionLife, Error>,
    ) -> Result<Arc<VersionEntry>, Error> {
        let Asked { action, transition, reason } = asked;
        let named = KeyOrVersion::Version(name.clone());
        let done = self
            .change(|snapshot| {
                let allowed = self.authorize_key(snapshot, from, action, &named, |_| OperationContext::Plain)?;
                let version = self.resolve(&allowed.key, &named)?;
                let wrong = || Error::WrongState { version: version.name.clone(), state: version.state, action };
                let state = match version.state.step(transition) {
                    Step::To(next) => next,
                    Step::Back => {
                        let begun = || Error::DestructionBegun { version: version.name.clone() };
                        version.life.before_destruction.ok_or_else(begun)?
                    }
                    Step::Mark if version.life.compromised.is_none() => version.state,
                    Step::Mark | Step::Nothing => return Ok(Plan::Nothing(version)),
                    Step::Refused => return Err(wrong()),
                };
                let turn = Turn { allowed: &allowed, version: &version, now: self.inner.clock.now() };
                let row = version.to_row();
                let life = life(row.life, &turn)?;
                let state_changed = if state == version.state { row.state_changed } else { turn.now };
                let row = KeyVersionRow { state, state_changed, life, ..version.to_row() };
                let act = details::Described::new(from, &allowed.permit, version.name.to_string())
                    .because(reason)
                    .act(version.uid, false);
                Ok(Plan::Change { rows: vec![RowChange::PutKeyVersion(row)], act: Box::new(act), then: () })
            })
            .await?;
        match done {
            Done::Nothing(version) => Ok(version),
            Done::Changed { snapshot, .. } => {
                let key = snapshot.keys.get(&name.key).ok_or_else(|| Error::NotFound { name: name.key.to_string() })?;
                self.resolve(key, &named)
            }
        }
    }
}

/// A transition that is being decided on.
struct Turn<'a> {
    allowed: &'a AllowedKey,
    version: &'a VersionEntry,
    now: Timestamp,
}

/// For transitions that change nothing but the state.
fn no_more(life: VersionLife, _: &Turn<'_>) -> Result<VersionLife, Error> {
    Ok(life)
}

fn check_grace(grace: Duration, dev: bool) -> Result<(), Error> {
    let shortest = if dev { Duration::ZERO } else { SHORTEST_GRACE };
    if (shortest..=LONGEST_GRACE).contains(&grace) && grace.subsec_nanos() == 0 {
        return Ok(());
    }
    let rule = if dev {
        "must be whole seconds, at most 365 days"
    } else {
        "must be whole seconds, from 24 hours to 365 days; only key rings of the environment dev allow less"
    };
    Err(Error::invalid("grace_period", rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_has_a_day_at_least_where_it_matters() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (grace, dev, fits) in [
            (hours(24), false, true),
            (hours(23), false, false),
            (hours(0), true, true),
            (hours(365 * 24), false, true),
            (hours(366 * 24), false, false),
            (hours(366 * 24), true, false),
            (Duration::from_millis(1), true, false),
            (DEFAULT_DESTRUCTION_GRACE, false, true),
        ] {
            assert_eq!(check_grace(grace, dev).is_ok(), fits, "{grace:?} {dev}");
        }
    }
}

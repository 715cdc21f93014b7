//! Changing what a caller is.

use std::collections::{BTreeMap, BTreeSet};

use chancery_model::{Action, Caller, CallerLimits, Factor, Id, Identity, Pace, Role, Timestamp, UsageLimits};
use chancery_policy::OperationContext;
use chancery_store::{CallerRow, RowChange};

use super::lockout::keeps_administrators;
use super::read::name_of;
use super::words;
use crate::change::Plan;
use crate::usage::CallerView;
use crate::{Chancery, Error, Requester, details};

/// What is to be changed of a caller; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerChange {
    /// Which caller.
    pub id: Id,
    /// The etag as it was read; a caller that changed since is left alone.
    pub etag: Option<String>,
    /// How it is recognised.
    pub identities: Option<BTreeSet<Identity>>,
    /// Groups.
    pub groups: Option<BTreeSet<Id>>,
    /// Roles.
    pub roles: Option<BTreeSet<Role>>,
    /// The key rings to which the roles extend.
    pub rings: Option<BTreeSet<Id>>,
    /// Names and values that policies can speak of.
    pub attributes: Option<BTreeMap<String, String>>,
    /// What each request must prove.
    pub required_factors: Option<BTreeSet<Factor>>,
    /// What it may take of the service.
    pub limits: LimitChanges,
}

/// What is asked of a caller's limits. An outer `None` leaves one as it is, an inner one takes it away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitChanges {
    /// How many uses in a second.
    pub max_uses_per_second: Option<Option<u32>>,
    /// How many at once. Only with a number of uses in a second.
    pub max_burst: Option<Option<u32>>,
    /// How many calls under way at the same time.
    pub max_concurrent_calls: Option<Option<u32>>,
    /// How many signatures in all.
    pub max_signatures: Option<Option<u64>>,
    /// How many signatures a day (UTC).
    pub max_daily_signatures: Option<Option<u64>>,
}

impl LimitChanges {
    fn apply(self, before: CallerLimits) -> CallerLimits {
        let Self { max_uses_per_second, max_burst, max_concurrent_calls, max_signatures, max_daily_signatures } = self;
        let CallerLimits { usage: UsageLimits { total, daily }, pace: Pace { per_second, burst, concurrent } } = before;
        CallerLimits {
            usage: UsageLimits { total: max_signatures.unwrap_or(total), daily: max_daily_signatures.unwrap_or(daily) },
            pace: Pace {
                per_second: max_uses_per_second.unwrap_or(per_second),
                burst: max_burst.unwrap_or(burst),
                concurrent: max_concurrent_calls.unwrap_or(concurrent),
            },
        }
    }
}

impl Chancery {
    /// Changes a caller. A call that begins after this has answered is decided on what the caller is now.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] (nobody changes themselves), [`Error::InvalidField`], [`Error::EtagMismatch`],
    /// [`Error::CallerLockout`], and those of the record.
    pub async fn update_caller(&self, from: &Requester, change: CallerChange) -> Result<CallerView, Error> {
        let (this, from) = (self.clone(), from.clone());
        let entry = self
            .to_the_end(async move {
                let done = this
                    .change(|snapshot| {
                        let operation = |caller: &Caller| OperationContext::Registration {
                            environment: caller.environment.clone(),
                            groups: change.groups.as_ref().unwrap_or(&caller.groups).clone(),
                            roles: change.roles.as_ref().unwrap_or(&caller.roles).clone(),
                            rings: change.rings.as_ref().unwrap_or(&caller.rings).clone(),
                        };
                        let allowed =
                            this.authorize_caller(snapshot, &from, Action::UpdateCaller, &change.id, operation)?;
                        if change.etag.as_ref().is_some_and(|etag| *etag != allowed.entry.etag) {
                            return Err(Error::EtagMismatch { name: name_of(&change.id) });
                        }
                        let before = allowed.entry.to_row();
                        let Some(mut row) = changed(&before, &change) else { return Ok(Plan::Nothing(allowed.entry)) };
                        this.check_registration(&snapshot.callers, &row, Some(&before))?;
                        if let Some(registration) = &mut row.registration {
                            registration.updated = Timestamp::now();
                        }
                        keeps_administrators(snapshot, &row)?;
                        let act = details::Described::new(&from, &allowed.permit, name_of(&change.id))
                            .because(&words::of_change(&before, &row))
                            .act(row.uid, false);
                        Ok(Plan::Change { rows: vec![RowChange::PutCaller(row)], act: Box::new(act), then: () })
                    })
                    .await?;
                this.entry_after(done, &change.id)
            })
            .await?;
        self.view_caller(entry).await
    }
}

/// The row with the change made; `None` where it is as wanted already.
fn changed(before: &CallerRow, change: &CallerChange) -> Option<CallerRow> {
    let CallerChange { id: _, etag: _, identities, groups, roles, rings, attributes, required_factors, limits } =
        change;
    let mut row = before.clone();
    let registration = row.registration.as_mut()?;
    fn set<T: Clone>(field: &mut T, wanted: Option<&T>) {
        if let Some(wanted) = wanted {
            field.clone_from(wanted);
        }
    }
    set(&mut registration.identities, identities.as_ref());
    set(&mut registration.groups, groups.as_ref());
    set(&mut registration.roles, roles.as_ref());
    set(&mut registration.rings, rings.as_ref());
    set(&mut registration.attributes, attributes.as_ref());
    set(&mut registration.required_factors, required_factors.as_ref());
    registration.limits = limits.apply(registration.limits);
    (row != *before).then_some(row)
}

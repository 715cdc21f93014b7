//! Registering callers, and the rules that a registration keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chancery_model::{Action, CallerLimits, CallerState, Factor, Id, Identity, Role, Timestamp, Uid};
use chancery_policy::{OperationContext, Resource};
use chancery_store::{CallerRegistration, CallerRow, RowChange};

use super::read::name_of;
use super::words;
use crate::authorize::Asked;
use crate::change::{Done, Plan};
use crate::keys::check_labels;
use crate::registry::{CallerEntry, Callers};
use crate::rules::{check_pace, checked_limit};
use crate::usage::CallerView;
use crate::{Chancery, Error, Requester, details};

/// How many identities, groups, and key rings a caller may have.
const MAX_OF_EACH: usize = 64;

/// A caller to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCaller {
    /// The id, which must be free.
    pub id: Id,
    /// The one environment whose key rings the caller may use; it never changes.
    pub environment: Id,
    /// How it is recognised.
    pub identities: BTreeSet<Identity>,
    /// Groups.
    pub groups: BTreeSet<Id>,
    /// Roles.
    pub roles: BTreeSet<Role>,
    /// The key rings to which the roles extend.
    pub rings: BTreeSet<Id>,
    /// Names and values that policies can speak of; as labels of keys.
    pub attributes: BTreeMap<String, String>,
    /// What each request must prove.
    pub required_factors: BTreeSet<Factor>,
    /// What it may take of the service.
    pub limits: CallerLimits,
    /// Makes a retry safe.
    pub request_id: Option<String>,
}

impl Chancery {
    /// Registers a caller.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::InvalidField`], [`Error::CallerExists`], [`Error::RequestIdReused`], and those of
    /// the record.
    pub async fn create_caller(&self, from: &Requester, new: NewCaller) -> Result<CallerView, Error> {
        let (this, from) = (self.clone(), from.clone());
        let entry = self.to_the_end(async move { this.create_caller_to_the_end(&from, &new).await }).await?;
        self.view_caller(entry).await
    }

    async fn create_caller_to_the_end(&self, from: &Requester, new: &NewCaller) -> Result<Arc<CallerEntry>, Error> {
        let done = self
            .change(|snapshot| {
                let asked = Asked::of(from, Action::CreateCaller, &name_of(&new.id));
                let operation = OperationContext::Registration {
                    environment: new.environment.clone(),
                    groups: new.groups.clone(),
                    roles: new.roles.clone(),
                    rings: new.rings.clone(),
                };
                let permit = self.authorize(snapshot, asked, Resource::Callers, operation)?;
                if let Some(entry) = snapshot.callers.entry(&new.id) {
                    return repeated(entry, new).map(Plan::Nothing);
                }
                if let Some(request_id) = &new.request_id
                    && snapshot.callers.entries_after(None).any(|entry| entry.request_id.as_ref() == Some(request_id))
                {
                    return Err(Error::RequestIdReused { request_id: request_id.clone() });
                }
                let uid = match snapshot.callers.former_uid(&new.id) {
                    Some(uid) => uid,
                    None => chancery_crypto::new_uid()?,
                };
                let row = CallerRow { id: new.id.clone(), uid, registration: Some(registration(new)) };
                self.check_registration(&snapshot.callers, &row, None)?;
                let act = details::Described::new(from, &permit, name_of(&new.id))
                    .because(&words::of_registration(&row))
                    .act(uid, false);
                Ok(Plan::Change { rows: vec![RowChange::PutCaller(row)], act: Box::new(act), then: () })
            })
            .await?;
        self.entry_after(done, &new.id)
    }

    /// The caller as a change left it.
    pub(super) fn entry_after(&self, done: Done<(), Arc<CallerEntry>>, id: &Id) -> Result<Arc<CallerEntry>, Error> {
        match done {
            Done::Nothing(entry) => Ok(entry),
            Done::Changed { snapshot, .. } => {
                let entry = snapshot.callers.entry(id).map(Arc::clone);
                entry.ok_or_else(|| Error::internal(format!("the caller {id} was written and is not there")))
            }
        }
    }

    /// What every registration keeps. Key rings that the caller had `before` may stay, whatever has become of them.
    pub(super) fn check_registration(
        &self,
        callers: &Callers,
        row: &CallerRow,
        before: Option<&CallerRow>,
    ) -> Result<(), Error> {
        let Some(registration) = &row.registration else { return Ok(()) };
        let had = before.and_then(|row| row.registration.as_ref()).map(|registration| &registration.rings);
        for (field, count) in [
            ("caller.identities", registration.identities.len()),
            ("caller.groups", registration.groups.len()),
            ("caller.key_rings", registration.rings.len()),
        ] {
            if count > MAX_OF_EACH {
                return Err(Error::invalid(field, format!("a caller has at most {MAX_OF_EACH} of these, not {count}")));
            }
        }
        let CallerLimits { usage, pace } = registration.limits;
        check_pace("caller", "max_concurrent_calls", pace)?;
        for (field, limit) in [("caller.max_signatures", usage.total), ("caller.max_daily_signatures", usage.daily)] {
            limit.map(|limit| checked_limit(field, limit)).transpose()?;
        }
        check_labels("caller.attributes", "attribute", &registration.attributes)?;
        if !Factor::go_together(&registration.required_factors) {
            let why = "api-key and oidc-token come in the same header, so no call can bring both; require one of them";
            return Err(Error::invalid("caller.required_factors", why));
        }
        for identity in &registration.identities {
            if callers.by_identity(identity).is_some_and(|owner| owner.uid != row.uid) {
                let why = format!("{identity} belongs to another caller; an identity belongs to one");
                return Err(Error::invalid("caller.identities", why));
            }
        }
        for ring in registration.rings.iter().filter(|ring| !had.is_some_and(|had| had.contains(*ring))) {
            let same_environment = |ring: &crate::Ring| ring.environment == registration.environment;
            if !self.inner.rings.get(ring).is_some_and(same_environment) {
                let why = format!("there is no key ring keyRings/{ring} of environment {}", registration.environment);
                return Err(Error::invalid("caller.key_rings", why));
            }
        }
        Ok(())
    }
}

fn registration(new: &NewCaller) -> CallerRegistration {
    let NewCaller {
        id: _,
        environment,
        identities,
        groups,
        roles,
        rings,
        attributes,
        required_factors,
        limits,
        request_id,
    } = new.clone();
    let now = Timestamp::now();
    CallerRegistration {
        environment,
        identities,
        groups,
        roles,
        rings,
        attributes,
        required_factors,
        limits,
        state: CallerState::Active,
        created: now,
        updated: now,
        state_changed: now,
        request_id,
    }
}

/// A registration whose id is taken: the same request again is answered with what the first one made.
fn repeated(entry: &Arc<CallerEntry>, new: &NewCaller) -> Result<Arc<CallerEntry>, Error> {
    let Some(request_id) = new.request_id.as_ref().filter(|id| entry.request_id.as_ref() == Some(id)) else {
        return Err(Error::CallerExists { name: name_of(&new.id) });
    };
    let Some(made) = entry.to_row().registration else { return Err(Error::internal("a caller without registration")) };
    let CallerRegistration { state, created, updated, state_changed, .. } = made;
    let asked = CallerRegistration { state, created, updated, state_changed, ..registration(new) };
    if asked == made { Ok(Arc::clone(entry)) } else { Err(Error::RequestIdReused { request_id: request_id.clone() }) }
}

/// A caller whom nobody asked for by a call: from the configuration, or by bootstrap.
pub(super) fn row_of(declared: super::CallerDeclaration, uid: Uid) -> CallerRow {
    let super::CallerDeclaration { id, environment, identities, groups, roles, rings, attributes, required_factors } =
        declared;
    let new = NewCaller {
        id: id.clone(),
        environment,
        identities,
        groups,
        roles,
        rings,
        attributes,
        required_factors,
        limits: CallerLimits::default(),
        request_id: None,
    };
    CallerRow { id, uid, registration: Some(registration(&new)) }
}

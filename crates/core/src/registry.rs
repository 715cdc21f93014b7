//! The registered callers as memory holds them: part of a snapshot, replaced as a whole by each change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chancery_model::{Caller, CallerState, Factor, Id, Identity, Timestamp, Uid};
use chancery_store::{CallerRegistration, CallerRow, RowChange};

use crate::state::etag;

/// A registered caller, and when it came to be what it is.
#[derive(Debug, Clone)]
pub struct CallerEntry {
    /// Who it is.
    pub caller: Arc<Caller>,
    /// When it was registered.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// When it was suspended or resumed last.
    pub state_changed: Timestamp,
    /// The request id of its registration.
    pub request_id: Option<String>,
    /// Changes with each change of the row.
    pub etag: String,
}

impl CallerEntry {
    /// `None` where the row does not say who the caller is.
    fn from_row(row: CallerRow) -> Option<Self> {
        let etag = etag(&RowChange::PutCaller(row.clone()));
        let CallerRow { id, uid, registration } = row;
        let CallerRegistration {
            environment,
            identities,
            groups,
            roles,
            rings,
            attributes,
            required_factors,
            limits,
            state,
            created,
            updated,
            state_changed,
            request_id,
        } = registration?;
        let caller = Caller {
            id,
            uid,
            environment,
            identities,
            groups,
            roles,
            rings,
            attributes,
            required_factors,
            limits,
            state,
        };
        Some(Self { caller: Arc::new(caller), created, updated, state_changed, request_id, etag })
    }

    /// The row that the store keeps of this caller.
    pub(crate) fn to_row(&self) -> CallerRow {
        let Caller {
            id,
            uid,
            environment,
            identities,
            groups,
            roles,
            rings,
            attributes,
            required_factors,
            limits,
            state,
        } = (*self.caller).clone();
        let registration = CallerRegistration {
            environment,
            identities,
            groups,
            roles,
            rings,
            attributes,
            required_factors,
            limits,
            state,
            created: self.created,
            updated: self.updated,
            state_changed: self.state_changed,
            request_id: self.request_id.clone(),
        };
        CallerRow { id, uid, registration: Some(registration) }
    }
}

/// The registered callers, by what they are looked for.
#[derive(Default)]
pub(crate) struct Callers {
    /// All of them, for policy to prepare.
    pub all: Vec<Arc<Caller>>,
    entries: BTreeMap<Id, Arc<CallerEntry>>,
    by_uid: HashMap<Uid, Arc<Caller>>,
    by_identity: HashMap<Identity, Arc<Caller>>,
    /// Of those whom only the configuration of an earlier version knew, the uids that the record has of them.
    unregistered: BTreeMap<Id, Uid>,
}

impl Callers {
    pub fn from_rows(rows: Vec<CallerRow>) -> Self {
        let (mut entries, mut unregistered) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            let (id, uid) = (row.id.clone(), row.uid);
            match CallerEntry::from_row(row) {
                Some(entry) => drop(entries.insert(id, Arc::new(entry))),
                None => drop(unregistered.insert(id, uid)),
            }
        }
        Self::of(entries, unregistered)
    }

    /// The same after `rows` were committed; what does not change is shared, so that policy need not prepare it again.
    pub fn after<'a>(&self, rows: impl Iterator<Item = &'a CallerRow>) -> Self {
        let (mut entries, mut unregistered) = (self.entries.clone(), self.unregistered.clone());
        for row in rows {
            if let Some(entry) = CallerEntry::from_row(row.clone()) {
                unregistered.remove(&row.id);
                entries.insert(row.id.clone(), Arc::new(entry));
            }
        }
        Self::of(entries, unregistered)
    }

    /// What the store holds now, sharing what has not changed.
    pub fn reloaded(&self, rows: Vec<CallerRow>) -> Self {
        let fresh = Self::from_rows(rows);
        let share = |(id, entry): (Id, Arc<CallerEntry>)| {
            let same = self.entries.get(&id).filter(|old| old.etag == entry.etag);
            let entry = same.map(Arc::clone).unwrap_or(entry);
            (id, entry)
        };
        Self::of(fresh.entries.into_iter().map(share).collect(), fresh.unregistered)
    }

    fn of(entries: BTreeMap<Id, Arc<CallerEntry>>, unregistered: BTreeMap<Id, Uid>) -> Self {
        let all: Vec<Arc<Caller>> = entries.values().map(|entry| Arc::clone(&entry.caller)).collect();
        let by_uid = all.iter().map(|caller| (caller.uid, Arc::clone(caller))).collect();
        let by_identity = all
            .iter()
            .flat_map(|caller| caller.identities.iter().map(|identity| (identity.clone(), Arc::clone(caller))))
            .collect();
        Self { all, entries, by_uid, by_identity, unregistered }
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entry(&self, id: &Id) -> Option<&Arc<CallerEntry>> {
        self.entries.get(id)
    }

    /// By id, from behind `after` on.
    pub fn entries_after(&self, after: Option<Id>) -> impl Iterator<Item = &Arc<CallerEntry>> {
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.entries.range((start, std::ops::Bound::Unbounded)).map(|(_, entry)| entry)
    }

    pub fn by_id(&self, id: &Id) -> Option<Arc<Caller>> {
        self.entries.get(id).map(|entry| Arc::clone(&entry.caller))
    }

    pub fn by_uid(&self, uid: Uid) -> Option<&Arc<Caller>> {
        self.by_uid.get(&uid)
    }

    pub fn by_identity(&self, identity: &Identity) -> Option<&Arc<Caller>> {
        self.by_identity.get(identity)
    }

    /// The uid that the record has of an id that is not registered.
    pub fn former_uid(&self, id: &Id) -> Option<Uid> {
        self.unregistered.get(id).copied()
    }

    /// Those who can come with a certificate alone, which does not end like an API key, and needs no other service as an
    /// OIDC token does: what administers must be among them.
    pub fn able(&self) -> Vec<Arc<Caller>> {
        let able = |caller: &&Arc<Caller>| {
            caller.state == CallerState::Active
                && caller.identities.iter().any(Identity::is_of_certificate)
                && caller.required_factors.iter().all(|factor| *factor == Factor::Certificate)
        };
        self.all.iter().filter(able).map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::{CallerLimits, Pace, UsageLimits};
    use std::collections::BTreeSet;

    fn row(id: &str, identity: &str) -> CallerRow {
        let time = Timestamp::from_unix_micros(1);
        let registration = CallerRegistration {
            environment: Id::parse("the environment", "dev").unwrap(),
            identities: BTreeSet::from([identity.parse().unwrap()]),
            groups: BTreeSet::new(),
            roles: BTreeSet::new(),
            rings: BTreeSet::new(),
            attributes: BTreeMap::new(),
            required_factors: BTreeSet::new(),
            limits: CallerLimits {
                usage: UsageLimits { total: Some(5), daily: Some(4) },
                pace: Pace { per_second: Some(3), burst: Some(2), concurrent: Some(1) },
            },
            state: CallerState::Active,
            created: time,
            updated: time,
            state_changed: time,
            request_id: None,
        };
        let uid = Uid::from_bytes([id.as_bytes()[0]; 16]);
        CallerRow { id: Id::parse("the caller id", id).unwrap(), uid, registration: Some(registration) }
    }

    #[test]
    fn a_row_comes_back_and_what_has_not_changed_is_shared() {
        let former = CallerRow { registration: None, ..row("former", "dns:f.example") };
        let before = Callers::from_rows(vec![row("a", "dns:a.example"), row("b", "dns:b.example"), former.clone()]);
        let (a, b) = (row("a", "dns:a.example"), row("b", "dns:other.example"));
        assert_eq!(before.entry(&a.id).unwrap().to_row(), a);
        assert_eq!((before.all.len(), before.former_uid(&former.id)), (2, Some(former.uid)));
        for after in [before.after([&b].into_iter()), before.reloaded(vec![a.clone(), b.clone()])] {
            let of = |callers: &Callers, id| callers.by_id(id).unwrap();
            assert!(Arc::ptr_eq(&of(&before, &a.id), &of(&after, &a.id)));
            assert!(!Arc::ptr_eq(&of(&before, &b.id), &of(&after, &b.id)));
            assert!(after.by_identity(&"dns:b.example".parse().unwrap()).is_none());
            assert_eq!(after.by_identity(&"dns:other.example".parse().unwrap()).unwrap().id, b.id);
        }
    }
}

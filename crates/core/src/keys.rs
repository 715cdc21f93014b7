//! Keys: finding, listing, creating.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use chancery_model::{Action, Algorithm, Id, KeyName, KeyRules, KeyVersionName, RingName};
use chancery_policy::{KeyFacts, OperationContext, Permit, Resource};
use chancery_store::{KeyRow, KeyVersionRow, RowChange};
use tokio::time::Instant;

use crate::authorize::Asked;
use crate::change::{Done, Plan};
use crate::details;
use crate::generate::{Generation, Warrant, to_be_made};
use crate::jwt::lifetime_of_new_key;
use crate::paging::Page;
use crate::rings::Ring;
use crate::rules::RuleChanges;
use crate::state::{KeyEntry, Snapshot, VersionEntry};
use crate::usage::KeyView;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

/// A key, standing for its primary version, or one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrVersion {
    /// The key's primary version.
    Key(KeyName),
    /// Exactly this version.
    Version(KeyVersionName),
}

impl KeyOrVersion {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> &KeyName {
        match self {
            Self::Key(key) => key,
            Self::Version(version) => &version.key,
        }
    }
}

impl std::fmt::Display for KeyOrVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Version(version) => version.fmt(f),
        }
    }
}

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateKey {
    /// The name, which must be free.
    pub name: KeyName,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Whether Sign takes digests.
    pub allow_digest: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The longest lifetime of a JWT that the key signs, whole seconds; [`DEFAULT_MAX_JWT_LIFETIME`] where not given, and
    /// not to be given for an algorithm that JOSE does not know.
    ///
    /// [`DEFAULT_MAX_JWT_LIFETIME`]: crate::DEFAULT_MAX_JWT_LIFETIME
    pub max_jwt_lifetime: Option<Duration>,
    /// The rules that it starts with.
    pub rules: RuleChanges,
    /// Makes a retry safe.
    pub request_id: Option<String>,
}

/// What a request for a new key comes to.
pub(crate) enum Reservation {
    /// The key was made for the same request before; its first version.
    Repeated(Arc<VersionEntry>),
    /// The rows of the key and of its first version, PENDING_GENERATION.
    New { key: Box<KeyRow>, version: Box<KeyVersionRow> },
}

/// A key that policy lets the caller act on.
pub(crate) struct AllowedKey {
    pub key: Arc<KeyEntry>,
    pub ring: Ring,
    pub permit: Permit,
}

impl Chancery {
    /// Finds a key and authorises an action on it. An unknown key answers as one that nobody may use. Refuses what a frozen
    /// ring does not do.
    pub(crate) fn authorize_key(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        action: Action,
        name: &KeyOrVersion,
        operation: impl FnOnce(&KeyEntry) -> OperationContext,
    ) -> Result<AllowedKey, Error> {
        let key_name = name.key();
        let found = snapshot.keys.get(key_name).zip(self.inner.rings.get(&key_name.ring));
        let Some((key, ring)) = found else {
            return Err(self.deny_unknown(snapshot, Asked::of(from, action, name)));
        };
        let asked = Asked { uid: key.uid, ..Asked::of(from, action, name) };
        let permit = self.authorize(snapshot, asked, key_resource(key, ring), operation(key))?;
        snapshot.refuse_frozen(action, &ring.name)?;
        Ok(AllowedKey { key: Arc::clone(key), ring: ring.clone(), permit })
    }

    /// The version that a name stands for. The caller is known to be allowed to act on the key, so the answer may say
    /// what is there.
    pub(crate) fn resolve(&self, key: &KeyEntry, name: &KeyOrVersion) -> Result<Arc<VersionEntry>, Error> {
        match name {
            KeyOrVersion::Key(name) => {
                key.primary().map(Arc::clone).ok_or_else(|| Error::NoPrimary { key: name.clone() })
            }
            KeyOrVersion::Version(name) => key
                .versions
                .get(&name.version)
                .map(Arc::clone)
                .ok_or_else(|| Error::NotFound { name: name.to_string() }),
        }
    }

    /// One key.
    ///
    /// # Errors
    /// [`Error::AccessDenied`].
    pub async fn get_key(&self, from: &Requester, name: KeyName) -> Result<KeyView, Error> {
        let snapshot = self.snapshot();
        let name = KeyOrVersion::Key(name);
        let allowed = self.authorize_key(&snapshot, from, Action::GetKey, &name, |_| OperationContext::Plain)?;
        self.view(allowed.key).await
    }

    /// The keys of a ring that the caller may see, by name.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] on the ring; [`Error::DeadlineExceeded`] where too many list.
    pub async fn list_keys(
        &self,
        from: &Requester,
        ring: RingName,
        after: Option<Id>,
        limit: usize,
    ) -> Result<Page<KeyView, Id>, Error> {
        let snapshot = self.snapshot();
        let (ring, _permit) = self.authorize_ring(&snapshot, from, Action::ListKeys, &ring, OperationContext::Plain)?;
        let asking = from.clone();
        // Of thousands that he may not see there may be none for this page.
        let look = move || {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let visible = snapshot
                .keys_of(&ring.name, start)
                .take_while(|_| Instant::now() < asking.deadline)
                .filter(|key| snapshot.would_allow(&asking, Action::GetKey, key_resource(key, &ring)))
                .map(Arc::clone);
            Page::take(visible, limit, |key| key.name.key.clone())
        };
        let Page { items, next } = blocking_in(place_in(&self.inner.browsing, from.deadline).await?, look).await?;
        from.require_time()?;
        Ok(Page { items: self.views(items).await?, next })
    }

    /// Creates a key and its first version.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] on the ring, [`Error::InvalidField`], [`Error::AlgorithmNotOffered`],
    /// [`Error::AlreadyExists`], [`Error::RequestIdReused`], [`Error::Device`], and those of the record.
    pub async fn create_key(&self, from: &Requester, request: CreateKey) -> Result<KeyView, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let version = this.create_key_to_the_end(&from, &request).await?;
            this.view(this.key_of(&version)?).await
        })
        .await
    }

    async fn create_key_to_the_end(&self, from: &Requester, request: &CreateKey) -> Result<Arc<VersionEntry>, Error> {
        let begun = self
            .change(|snapshot| {
                let operation =
                    OperationContext::CreateKey { algorithm: request.algorithm, allow_digest: request.allow_digest };
                let ring_name = request.name.ring_name();
                let (ring, permit) = self.authorize_ring(snapshot, from, Action::CreateKey, &ring_name, operation)?;
                let (key, version) = match self.reservation(snapshot, &ring, request)? {
                    Reservation::New { key, version } => (*key, *version),
                    // Adopted by the same request id: not what this call asks for.
                    Reservation::Repeated(version) if version.adoption.is_some() => {
                        let request_id = request.request_id.clone().unwrap_or_default();
                        return Err(Error::RequestIdReused { request_id });
                    }
                    Reservation::Repeated(version) => return Ok(Plan::Nothing(version)),
                };
                let token = self.token_of(&ring)?;
                let name = request.name.version(1);
                let act = details::generation(from, &permit, &name, version.uid, request.algorithm);
                let warrant = Warrant::Permit(Box::new(permit));
                let place = self.inner.in_flight.enter(version.uid, snapshot.epoch);
                let generation = Generation::new(warrant, &version, name, request.algorithm, token.clone(), place);
                let rows = vec![RowChange::PutKey(key), RowChange::PutKeyVersion(version)];
                Ok(Plan::Change { rows, act: Box::new(act), then: generation })
            })
            .await?;
        match begun {
            Done::Nothing(version) => Ok(version),
            Done::Changed { recorded, then, .. } => self.finish_generation(recorded, then).await,
        }
    }

    /// The rows of a key with its first version, which is to be made or adopted; checks what is asked for, and that the name
    /// is free.
    pub(crate) fn reservation(
        &self,
        snapshot: &Snapshot,
        ring: &Ring,
        request: &CreateKey,
    ) -> Result<Reservation, Error> {
        check_labels("key.labels", "label", &request.labels)?;
        if request.allow_digest && request.algorithm.hash().is_none() {
            let why = format!("{} signs messages only; leave allow_digest off", request.algorithm);
            return Err(Error::invalid("key.allow_digest", why));
        }
        let now = self.inner.clock.now();
        let rules = request.rules.apply(&KeyRules::default(), now, ring.is_dev())?;
        self.check_requirement(request.algorithm, &rules)?;
        let max_jwt_lifetime_seconds = lifetime_of_new_key(request.algorithm, request.max_jwt_lifetime)?;
        let token = self.token_of(ring)?;
        if let Some(key) = snapshot.keys.get(&request.name) {
            return repeated_creation(key, request, &rules).map(Reservation::Repeated);
        }
        self.no_other_use_of(snapshot, request)?;
        token.offers(request.algorithm)?;
        let key = KeyRow {
            uid: chancery_crypto::new_uid()?,
            name: request.name.clone(),
            algorithm: request.algorithm,
            allow_digest: request.allow_digest,
            labels: request.labels.clone(),
            max_jwt_lifetime_seconds,
            rules,
            primary_version: None,
            created: now,
            updated: now,
            request_id: request.request_id.clone(),
        };
        let version = KeyVersionRow { request_id: request.request_id.clone(), ..to_be_made(key.uid, 1, now)? };
        Ok(Reservation::New { key: Box::new(key), version: Box::new(version) })
    }

    pub(crate) fn key_of(&self, version: &VersionEntry) -> Result<Arc<KeyEntry>, Error> {
        let snapshot = self.snapshot();
        let key = snapshot.keys.get(&version.name.key);
        key.map(Arc::clone).ok_or_else(|| Error::NotFound { name: version.name.key.to_string() })
    }

    /// A request id stands for one request in its ring.
    fn no_other_use_of(&self, snapshot: &Snapshot, request: &CreateKey) -> Result<(), Error> {
        let Some(request_id) = &request.request_id else { return Ok(()) };
        let used = snapshot
            .keys_of(&request.name.ring_name(), Bound::Unbounded)
            .any(|key| key.request_id.as_ref() == Some(request_id));
        if used { Err(Error::RequestIdReused { request_id: request_id.clone() }) } else { Ok(()) }
    }
}

/// A creation whose name is taken: the same request again is answered with what the first one made.
fn repeated_creation(key: &KeyEntry, request: &CreateKey, rules: &KeyRules) -> Result<Arc<VersionEntry>, Error> {
    let taken = || Error::AlreadyExists { name: request.name.to_string() };
    let Some(request_id) = request.request_id.as_ref().filter(|id| key.request_id.as_ref() == Some(id)) else {
        return Err(taken());
    };
    let lifetime = lifetime_of_new_key(request.algorithm, request.max_jwt_lifetime)?;
    let same = key.algorithm == request.algorithm
        && key.allow_digest == request.allow_digest
        && *key.labels == request.labels
        && key.max_jwt_lifetime() == crate::jwt::lifetime_in_force(key.algorithm, lifetime)
        // When the next rotation is depends on when it is asked.
        && KeyRules { next_rotation: None, ..key.rules.clone() } == KeyRules { next_rotation: None, ..rules.clone() };
    if !same {
        return Err(Error::RequestIdReused { request_id: request_id.clone() });
    }
    // Without a primary version the first call is still at work: not this call's to answer.
    key.versions.get(&1).filter(|_| key.primary_version.is_some()).map(Arc::clone).ok_or(Error::StateChanging)
}

/// At most 32 labels, of keys `[a-z][a-z0-9_-]{0,62}` and values `[A-Za-z0-9_.-]{0,63}`. Attributes of callers are the same.
pub(crate) fn check_labels(field: &str, what: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    if labels.len() > 32 {
        return Err(Error::invalid(field, format!("there are at most 32 {what}s, not {}", labels.len())));
    }
    for (name, value) in labels {
        let name_ok = (1..=63).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if !name_ok {
            return Err(Error::invalid(
                field,
                format!("the key of a {what} must match [a-z][a-z0-9_-]{{0,62}} (ASCII)"),
            ));
        }
        let value_ok = value.len() <= 63 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !value_ok {
            let rule = format!("the value of a {what} must match [A-Za-z0-9_.-]{{0,63}} (ASCII)");
            return Err(Error::invalid(&format!("{field}[{name}]"), rule));
        }
    }
    Ok(())
}

pub(crate) fn key_resource(key: &KeyEntry, ring: &Ring) -> Resource {
    Resource::Key(KeyFacts {
        name: key.name.clone(),
        environment: ring.environment.clone(),
        algorithm: key.algorithm,
        allow_digest: key.allow_digest,
        labels: Arc::clone(&key.labels),
        extractable: key.is_extractable(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn labels_are_checked() {
        assert!(check_labels("key.labels", "label", &labels("cost-centre", "A.1_2-b")).is_ok());
        assert!(check_labels("key.labels", "label", &labels("empty", "")).is_ok());
        for (name, value) in [("", "a"), ("Upper", "a"), ("1st", "a"), ("a", "a b"), ("a", "ä"), ("é", "a")] {
            assert!(check_labels("key.labels", "label", &labels(name, value)).is_err(), "{name:?} {value:?}");
        }
        let many = (0..33).map(|n| (format!("l{n}"), String::new())).collect();
        assert!(check_labels("key.labels", "label", &many).is_err());
    }
}

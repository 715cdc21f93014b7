//! The public keys that verifiers of JWTs are to trust, as JSON Web Key Sets (RFC 7517, section 5).

use std::ops::Bound;
use std::sync::Arc;

use chancery_crypto::{Jwk, jose_algorithm};
use chancery_model::{Action, KeyName, KeyPurpose, RingName};
use chancery_policy::OperationContext;

use crate::authorize::Asked;
use crate::keys::{KeyOrVersion, key_resource};
use crate::state::KeyEntry;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

/// Whose public keys are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetOf {
    /// Every key of a ring that the caller may have.
    Ring(RingName),
    /// One key.
    Key(KeyName),
}

impl Chancery {
    /// The public keys of all published versions: of each key its newest version first, the keys by name. Each key is asked
    /// of policy as GetPublicKey.
    ///
    /// Keys of a ring that the caller may not have are left out, as are those of algorithms that JOSE does not know. A ring
    /// of which he may have none is answered, and recorded as a denial, like one that does not exist.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; for one key also [`Error::WrongPurpose`] and [`Error::NotInJose`];
    /// [`Error::DeadlineExceeded`] where too many ask for rings.
    pub async fn published_keys(&self, from: &Requester, of: KeySetOf) -> Result<Vec<Jwk>, Error> {
        match of {
            KeySetOf::Key(name) => self.published_keys_of_key(from, name),
            KeySetOf::Ring(name) => {
                let (this, asking) = (self.clone(), from.clone());
                // A ring may have thousands of keys, and policy is asked of each.
                let decide = move || this.published_keys_of_ring(&asking, &name);
                blocking_in(place_in(&self.inner.publishing, from.deadline).await?, decide).await?
            }
        }
    }

    fn published_keys_of_key(&self, from: &Requester, name: KeyName) -> Result<Vec<Jwk>, Error> {
        let action = Action::GetPublicKey;
        let name = KeyOrVersion::Key(name);
        let allowed = self.authorize_key(&self.snapshot(), from, action, &name, |_| OperationContext::Plain)?;
        let key = &allowed.key;
        key.require(KeyPurpose::Signature, action)?;
        if jose_algorithm(key.algorithm).is_none() {
            return Err(Error::NotInJose { key: key.name.clone(), algorithm: key.algorithm });
        }
        Ok(published(key).collect())
    }

    fn published_keys_of_ring(&self, from: &Requester, name: &RingName) -> Result<Vec<Jwk>, Error> {
        let action = Action::GetPublicKey;
        let snapshot = self.snapshot();
        let asked = Asked::of(from, action, name);
        let keys: Vec<&Arc<KeyEntry>> = snapshot.keys_of(name, Bound::Unbounded).collect();
        let (Some(ring), Some(first)) = (self.inner.rings.get(&name.ring), keys.first()) else {
            return Err(self.deny_unknown(&snapshot, asked));
        };
        let may_have = |key: &&Arc<KeyEntry>| snapshot.would_allow(from, action, key_resource(key, ring));
        let allowed: Vec<&Arc<KeyEntry>> = keys.iter().copied().filter(may_have).collect();
        if allowed.is_empty() {
            // Asked once more of one of them, so that the refusal is recorded with what policy said.
            self.authorize(&snapshot, asked, key_resource(first, ring), OperationContext::Plain)?;
        }
        Ok(allowed.into_iter().flat_map(|key| published(key)).collect())
    }
}

/// The published versions of a key as JWK, the newest first; none where JOSE does not know the algorithm.
fn published(key: &KeyEntry) -> impl Iterator<Item = Jwk> {
    let versions = key.versions.values().rev().filter(|version| version.state.is_published());
    versions.filter_map(|version| version.public.as_ref()?.to_jwk())
}

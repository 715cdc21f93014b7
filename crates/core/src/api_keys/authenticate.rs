//! Checking an API key that came with a call. Whether there is such a key and whether the secret is right takes the same
//! work and gets the same answer.

use std::sync::Arc;

use chancery_crypto::ApiKeyText;
use chancery_model::{ApiKeyProof, Timestamp};

use super::ApiKeyEntry;
use crate::Chancery;
use crate::callers::Unidentified;
use crate::state::Snapshot;

impl Chancery {
    /// The key that this is, where it is one. That it holds (time, address, revocation) is asked by its standing.
    pub(crate) fn check_api_key(
        &self,
        snapshot: &Snapshot,
        key: &ApiKeyText,
    ) -> Result<Arc<ApiKeyEntry>, Unidentified> {
        let known = snapshot.api_keys.by_id(key.id());
        let Some(pepper) = self.inner.pepper.load_full() else {
            // Where no key was ever issued, or the secret is lost for good, there is nothing that it could be.
            return Err(if snapshot.can_have_api_keys() {
                Unidentified::ApiKeysUnavailable
            } else {
                Unidentified::ApiKeyUnknown
            });
        };
        let hash = known.map(|known| &known.secret_hmac);
        match known {
            // Not before the secret was compared, also with nobody's.
            known if !pepper.matches(key, hash) => {
                let _not_told = known;
                Err(Unidentified::ApiKeyUnknown)
            }
            Some(known) => Ok(Arc::clone(known)),
            None => Err(Unidentified::ApiKeyUnknown),
        }
    }

    /// Notes that a key was used.
    pub(crate) fn note_api_key_use(&self, proof: &ApiKeyProof) {
        let now = Timestamp::now();
        if self.inner.api_key_uses.note(proof.uid, now) {
            self.inner.log.note_api_key_uses([(proof.uid, now)]);
        }
    }
}

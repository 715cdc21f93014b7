//! Verification on this side: no signature is handed out that a public key known here does not confirm.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_api::v1;
use chancery_crypto::{PublicKey, VerifyError};
use chancery_model::KeyVersionName;

use crate::{Client, ClientError, Signed, input};

/// Which public keys signatures are checked against before [`Client::sign`], [`Client::batch_sign`] and
/// [`Client::stream_sign`] hand them out. The service checks each signature itself before it answers; this is for callers
/// that would rather trust nobody, for tens of microseconds a signature. Off unless given to [`Client::verify_locally`].
/// Cheap to clone; clones share what they learn.
#[derive(Clone)]
pub struct LocalVerification(Option<Arc<Pins>>);

struct Pins {
    keys: Mutex<HashMap<KeyVersionName, PublicKey>>,
    /// Whether an unknown version's key is fetched and pinned, rather than refused.
    on_first_use: bool,
}

impl LocalVerification {
    /// Nothing is checked.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Against these public keys, known from elsewhere, and no others: a signature of another version is
    /// [`ClientError::NotPinned`], so pin the new version's key before a key is rotated.
    pub fn pinned(keys: impl IntoIterator<Item = (KeyVersionName, PublicKey)>) -> Self {
        Self::new(keys.into_iter().collect(), false)
    }

    /// Against the public key that the service gives for a version when it is first needed, and ever after: finds damage
    /// and mix-ups, but not a service that lies from the first.
    #[must_use]
    pub fn on_first_use() -> Self {
        Self::new(HashMap::new(), true)
    }

    fn new(keys: HashMap<KeyVersionName, PublicKey>, on_first_use: bool) -> Self {
        Self(Some(Arc::new(Pins { keys: Mutex::new(keys), on_first_use })))
    }

    /// Whether anything is checked.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for LocalVerification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("LocalVerification(off)"),
            Some(pins) if pins.on_first_use => f.write_str("LocalVerification(on first use)"),
            Some(_) => f.write_str("LocalVerification(pinned)"),
        }
    }
}

impl Pins {
    fn get(&self, version: &KeyVersionName) -> Option<PublicKey> {
        // What panicked elsewhere left a whole map.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(version).cloned()
    }

    /// The first key of a version stays.
    fn pin(&self, version: &KeyVersionName, key: PublicKey) -> PublicKey {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entry(version.clone()).or_insert(key).clone()
    }
}

impl Client {
    /// The signature, once it has passed the verification that this client is set to.
    pub(crate) async fn released(&self, request: &v1::SignRequest, signed: Signed) -> Result<Signed, ClientError> {
        let Some(pins) = &self.local().0 else { return Ok(signed) };
        let key = match pins.get(&signed.version) {
            Some(key) => key,
            None if pins.on_first_use => pins.pin(&signed.version, self.verifying_key(&signed.version).await?.1),
            None => return Err(ClientError::NotPinned { version: signed.version }),
        };
        let verified = if key.algorithm() == signed.algorithm {
            input::verify(&key, request, &signed.signature)
        } else {
            Err(VerifyError::Invalid)
        };
        match verified {
            Ok(()) => Ok(signed),
            Err(source) => {
                Err(ClientError::WrongSignature { version: signed.version, record_index: signed.record_index, source })
            }
        }
    }
}

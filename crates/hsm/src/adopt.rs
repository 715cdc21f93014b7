//! Keys that others have put into a token, and why one of them cannot be used.

use chancery_model::{Adoption, TokenObjectId};
use serde::{Deserialize, Serialize};

use crate::KeyAttributes;

/// Which key of a token is meant: by CKA_ID, by CKA_LABEL, or by both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectQuery {
    /// CKA_ID of the private or secret key.
    pub id: Option<TokenObjectId>,
    /// Its CKA_LABEL.
    pub label: Option<String>,
}

/// A private or secret key that is fit for an algorithm, as far as the token says. It has not signed anything yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// Its CKA_ID, which no other private or secret key of the token has.
    pub id: TokenObjectId,
    /// Its CKA_LABEL; bytes that are not UTF-8 are replaced.
    pub label: String,
    /// The public key as DER SubjectPublicKeyInfo; `None` for a secret, which has none.
    pub spki_der: Option<Vec<u8>>,
    /// What the object says of itself.
    pub attributes: KeyAttributes,
}

impl FoundKey {
    /// What is to be remembered of it.
    #[must_use]
    pub const fn adoption(&self) -> Adoption {
        let KeyAttributes { sensitive, always_sensitive, extractable, never_extractable, local, .. } = self.attributes;
        // All four, since what the token does not vouch for counts against the key.
        let kept = sensitive && always_sensitive && !extractable && never_extractable;
        Adoption { object_id: self.id, imported: !local, extractable: !kept }
    }
}

/// Why a key of a token is not one that can be adopted. For whoever wants to adopt it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unadoptable {
    /// There is none.
    #[error("the token holds no such key; look at its objects with the module's own tool")]
    NotFound,
    /// There are several.
    #[error("{count} keys of the token fit; name the one that is meant by its CKA_ID and its label")]
    Several {
        /// How many.
        count: u64,
    },
    /// It has no CKA_ID.
    #[error("the key has no CKA_ID, by which it would be found again; give it one with the module's own tool")]
    NoId,
    /// Its CKA_ID is too long.
    #[error("the key's CKA_ID has {bytes} bytes, and at most 64 can be used; give it another one")]
    LongId {
        /// How many.
        bytes: u64,
    },
    /// Others have the same CKA_ID.
    #[error(
        "{count} private or secret keys of the token have this CKA_ID, and by it alone a key is found; give each its own"
    )]
    SharedId {
        /// How many.
        count: u64,
    },
    /// The public key is nowhere.
    #[error(
        "the public key is not in the token: there is no public key object and no certificate with the key's CKA_ID; put one \
         there with the module's own tool"
    )]
    NoPublicHalf,
    /// There are several public keys.
    #[error(
        "{count} public keys (or certificates) of the token have the key's CKA_ID; leave the one that is the key's"
    )]
    SeveralPublicHalves {
        /// How many.
        count: u64,
    },
    /// It is another kind of key.
    #[error("the key is not one of the algorithm: {what}; name the algorithm that it is for")]
    OtherKey {
        /// What is another.
        what: String,
    },
    /// It may not sign.
    #[error("the token does not let the key sign (CKA_SIGN is false)")]
    CannotSign,
    /// Its MACs could not be checked.
    #[error("the token does not let the key check MACs (CKA_VERIFY is false), and none leaves unchecked")]
    CannotVerify,
    /// It is used without a PIN.
    #[error("the token lets anybody use the key without a PIN (CKA_PRIVATE is false)")]
    NotPrivate,
    /// Each signature needs the PIN.
    #[error("the token asks for the PIN at each use of the key (CKA_ALWAYS_AUTHENTICATE is true)")]
    AlwaysAuthenticate,
    /// It did not prove itself.
    #[error(
        "the key did not make a signature or MAC that holds: the public key in the token is another's, or the key is damaged"
    )]
    Unproven,
}

/// Why no key was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindKeyError {
    /// The token answered, and there is no such key or it cannot be used.
    #[error(transparent)]
    Unadoptable(#[from] Unadoptable),
    /// The token could not say.
    #[error(transparent)]
    Failed(#[from] crate::HsmFailure),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenObjectClass;

    #[test]
    fn what_the_token_does_not_vouch_for_counts_against_the_key() {
        let kept = KeyAttributes {
            class: TokenObjectClass::PrivateKey,
            token: true,
            private: true,
            sensitive: true,
            always_sensitive: true,
            extractable: false,
            never_extractable: true,
            local: true,
            sign: true,
            decrypt: true,
            unwrap: true,
            derive: true,
            sign_recover: true,
            verify: false,
            encrypt: false,
            wrap: false,
        };
        let of = |attributes| {
            let found = FoundKey { id: "01".parse().unwrap(), label: String::new(), spki_der: None, attributes };
            let Adoption { imported, extractable, .. } = found.adoption();
            (imported, extractable)
        };
        assert_eq!(of(kept), (false, false));
        assert_eq!(of(KeyAttributes { local: false, ..kept }), (true, false));
        for copied in [
            KeyAttributes { sensitive: false, ..kept },
            KeyAttributes { always_sensitive: false, ..kept },
            KeyAttributes { extractable: true, ..kept },
            KeyAttributes { never_extractable: false, ..kept },
        ] {
            assert_eq!(of(copied), (false, true));
        }
    }
}

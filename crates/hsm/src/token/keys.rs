//! Keys in the token: made, looked for, looked at, proved and destroyed. Making and destroying go one at a time, over the
//! control lane.

use super::Token;
use crate::wire::{ControlReply, ControlRequest, WireAdopted, WireFound, WireKey, algorithm_index};
use crate::{
    FindKeyError, FoundKey, GeneratedKey, HsmErrorKind, HsmFailure, KeyPresence, MacKey, ORDERLY_GRACE, ObjectQuery,
    SigningKey, TokenObject, Unadoptable,
};
use chancery_crypto::PublicKey;
use chancery_model::{Algorithm, TokenObjectId, Uid};
use tokio::time::Instant;

impl Token {
    /// Makes a key whose objects all have the CKA_ID `uid`, reads it back, and has it prove itself on a random challenge.
    /// A key is a pair or, for MACs, a secret. Keys are made one at a time, and signing goes on meanwhile. Never retried: after a failure of another kind
    /// than [`HsmErrorKind::Configuration`] or [`HsmErrorKind::KeyAmbiguous`], ask [`Token::inspect`] what is there.
    ///
    /// # Errors
    /// [`HsmFailure`]; also where the key's attributes are not as demanded, in which case the key has been
    /// destroyed.
    pub async fn generate(
        &self,
        uid: Uid,
        label: &str,
        algorithm: Algorithm,
        deadline: Instant,
    ) -> Result<GeneratedKey, HsmFailure> {
        self.offers(algorithm).map_err(|missing| HsmFailure::new(HsmErrorKind::Configuration, missing.to_string()))?;
        let request = ControlRequest::Generate {
            uid: *uid.as_bytes(),
            label: label.to_owned(),
            algorithm: algorithm_index(algorithm),
        };
        let key = match self.control(request, deadline).await? {
            ControlReply::Key(key) => generated(key)?,
            _ => return Err(unexpected()),
        };
        match self.prove(&key, algorithm, HsmErrorKind::WrongSignature, deadline).await {
            Ok(()) => Ok(key),
            Err(failure) => {
                // The caller's time may be over; the key must go all the same.
                let gone = self.destroy(uid.into(), Instant::now() + ORDERLY_GRACE).await;
                // While the key may still be there, no kind may say that nothing was left.
                let (kind, after) = match gone {
                    Ok(_) => (failure.kind, "it was destroyed".to_owned()),
                    Err(second) => (HsmErrorKind::OutcomeUnknown, format!("destroying it failed: {second}")),
                };
                let message = format!("the new key {uid} did not prove itself: {}; {after}", failure.message);
                // There was a key, whatever the proof was asked.
                Err(HsmFailure { kind, message, attempts: failure.attempts.max(1), ..failure })
            }
        }
    }

    /// Finds out what the token holds under a CKA_ID. A key that is whole has also proved itself on a
    /// random challenge.
    ///
    /// # Errors
    /// [`HsmFailure`] where the token could not say.
    pub async fn inspect(
        &self,
        id: TokenObjectId,
        algorithm: Algorithm,
        deadline: Instant,
    ) -> Result<KeyPresence, HsmFailure> {
        let request = ControlRequest::Inspect { id: id.as_bytes().to_vec(), algorithm: algorithm_index(algorithm) };
        let reply = match self.control(request, deadline).await {
            Err(failure) if speaks_of_the_key(&failure) => return Ok(KeyPresence::Unfit { why: failure.message }),
            reply => reply?,
        };
        match reply {
            ControlReply::Key(key) => {
                let key = generated(key)?;
                match self.prove(&key, algorithm, HsmErrorKind::WrongSignature, deadline).await {
                    Ok(()) => Ok(KeyPresence::Complete(key)),
                    Err(failure) if speaks_of_the_key(&failure) => Ok(KeyPresence::Unfit { why: failure.message }),
                    Err(failure) => Err(failure),
                }
            }
            ControlReply::Incomplete { private: 0, public: 0, secret: 0 } => Ok(KeyPresence::Absent),
            ControlReply::Incomplete { private, public, secret } => {
                let (private, public, secret) = (count(private), count(public), count(secret));
                Ok(KeyPresence::Partial { private, public, secret })
            }
            _ => Err(unexpected()),
        }
    }

    /// Destroys every key object with a CKA_ID and checks that none is left. Returns how many there were.
    ///
    /// # Errors
    /// [`HsmFailure`]; some of the objects may be gone then.
    pub async fn destroy(&self, id: TokenObjectId, deadline: Instant) -> Result<usize, HsmFailure> {
        self.destroy_objects(id, None, deadline).await
    }

    /// The same of a key that others have put into the token: where several private or secret keys have the CKA_ID by now, or
    /// one with another public key than `pinned`, which a pair has, none of them is destroyed ([`HsmErrorKind::KeyAmbiguous`]).
    ///
    /// # Errors
    /// [`HsmFailure`]; some of the objects may be gone then.
    pub async fn destroy_adopted(
        &self,
        id: TokenObjectId,
        algorithm: Algorithm,
        pinned: Option<&PublicKey>,
        deadline: Instant,
    ) -> Result<usize, HsmFailure> {
        let spki_der = pinned.map(|public| public.spki_der().to_vec());
        let adopted = WireAdopted { algorithm: algorithm_index(algorithm), spki_der };
        self.destroy_objects(id, Some(adopted), deadline).await
    }

    async fn destroy_objects(
        &self,
        id: TokenObjectId,
        adopted: Option<WireAdopted>,
        deadline: Instant,
    ) -> Result<usize, HsmFailure> {
        match self.control(ControlRequest::Destroy { id: id.as_bytes().to_vec(), adopted }, deadline).await? {
            ControlReply::Destroyed(destroyed) => Ok(count(destroyed)),
            _ => Err(unexpected()),
        }
    }

    /// Finds a key that others have put into the token, with its public half. Uses nothing and changes nothing:
    /// [`Token::prove_found`] has the key show that it works.
    ///
    /// # Errors
    /// [`FindKeyError`].
    pub async fn find(
        &self,
        wanted: &ObjectQuery,
        algorithm: Algorithm,
        deadline: Instant,
    ) -> Result<FoundKey, FindKeyError> {
        let ObjectQuery { id, label } = wanted;
        let id = id.map(|id| id.as_bytes().to_vec());
        let request = ControlRequest::Find { id, label: label.clone(), algorithm: algorithm_index(algorithm) };
        match self.control(request, deadline).await? {
            ControlReply::Found(WireFound { id, label, spki_der, attributes }) => {
                Ok(FoundKey { id: object_id(&id)?, label, spki_der, attributes })
            }
            ControlReply::Unadoptable(why) => Err(why.into()),
            _ => Err(unexpected().into()),
        }
    }

    /// Has a key that was found sign a random challenge, which must hold under the public key that was found with it; a
    /// secret makes a MAC, which the token recognises.
    ///
    /// # Errors
    /// [`FindKeyError`]; [`Unadoptable::Unproven`] where it is the key that does not do it.
    pub async fn prove_found(
        &self,
        found: &FoundKey,
        algorithm: Algorithm,
        deadline: Instant,
    ) -> Result<(), FindKeyError> {
        let FoundKey { id, label: _, spki_der, attributes } = found.clone();
        let key = GeneratedKey { id, spki_der, attributes };
        // A public key that is another's is whoever's who put it there: no sign that the token lies.
        self.prove(&key, algorithm, HsmErrorKind::Configuration, deadline).await.map_err(|failure| {
            if speaks_of_the_key(&failure) {
                tracing::warn!(token = %self.shared.settings.id, key = %id, %failure, "a key did not prove itself");
                return Unadoptable::Unproven.into();
            }
            failure.into()
        })
    }

    /// Lists all private, public and secret key objects of the token, whoever made them.
    ///
    /// # Errors
    /// [`HsmFailure`]
    pub async fn list(&self, deadline: Instant) -> Result<Vec<TokenObject>, HsmFailure> {
        match self.control(ControlRequest::List, deadline).await? {
            ControlReply::Objects(objects) => Ok(objects),
            _ => Err(unexpected()),
        }
    }

    /// Lists secret key objects of the token, whoever made them: those with a CKA_ID, or all. Key pairs, of which there may be
    /// thousands, are not looked at.
    ///
    /// # Errors
    /// [`HsmFailure`]
    pub async fn list_secrets(
        &self,
        id: Option<TokenObjectId>,
        deadline: Instant,
    ) -> Result<Vec<TokenObject>, HsmFailure> {
        let id = id.map(|id| id.as_bytes().to_vec());
        match self.control(ControlRequest::ListSecrets { id }, deadline).await? {
            ControlReply::Objects(objects) => Ok(objects),
            _ => Err(unexpected()),
        }
    }

    /// Has a key show on a random challenge that it works: a pair signs it, and that is verified in software; a secret
    /// makes a MAC, which the token recognises, and which it no longer does when a bit is flipped. A signature that does not
    /// verify is a failure of the kind `wrong`.
    async fn prove(
        &self,
        key: &GeneratedKey,
        algorithm: Algorithm,
        wrong: HsmErrorKind,
        deadline: Instant,
    ) -> Result<(), HsmFailure> {
        let refused = |message| HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::Configuration, message) };
        let mut challenge = chancery_crypto::random_bytes::<32>()
            .map_err(|error| HsmFailure::new(HsmErrorKind::Bug, format!("no random bytes for a challenge: {error}")))?;
        let Some(spki_der) = &key.spki_der else {
            let key = MacKey { id: key.id, algorithm };
            let mac = self.mac(&key, &challenge, deadline).await?;
            let right = self.verify_mac(&key, &challenge, &mac.bytes, deadline).await?;
            challenge[0] ^= 1;
            let wrong = self.verify_mac(&key, &challenge, &mac.bytes, deadline).await?;
            return match (right.valid, wrong.valid) {
                (true, false) => Ok(()),
                (false, _) => Err(refused("the token does not recognise a MAC that it has made".to_owned())),
                (true, true) => Err(refused("the token takes a MAC for that of another message, too".to_owned())),
            };
        };
        let public = PublicKey::from_spki_der(algorithm, spki_der)
            .map_err(|error| refused(format!("the token shows a public key that is none for {algorithm}: {error}")))?;
        let key = SigningKey { id: key.id, public };
        self.sign_or(wrong, &key, crate::SignInput::Message(&challenge), deadline).await.map(|_| ())
    }
}

fn generated(key: WireKey) -> Result<GeneratedKey, HsmFailure> {
    let WireKey { id, spki_der, attributes } = key;
    Ok(GeneratedKey { id: object_id(&id)?, spki_der, attributes })
}

fn object_id(bytes: &[u8]) -> Result<TokenObjectId, HsmFailure> {
    TokenObjectId::try_from(bytes).map_err(|_invalid| unexpected())
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Whether a failure is the key's own: asking again will not make it another one.
const fn speaks_of_the_key(failure: &HsmFailure) -> bool {
    matches!(
        failure.kind,
        HsmErrorKind::Configuration | HsmErrorKind::Bug | HsmErrorKind::KeyAmbiguous | HsmErrorKind::WrongSignature
    )
}

fn unexpected() -> HsmFailure {
    let what = "the worker answered something else than it was asked";
    HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::Bug, what) }
}

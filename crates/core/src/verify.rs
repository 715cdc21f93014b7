//! Verifying, in software, against the public key that was pinned when the version was made.

use chancery_crypto::{SignedInput, VerifyError};
use chancery_model::{Action, EcdsaEncoding, KeyPurpose, KeyState, KeyVersionName};
use chancery_policy::OperationContext;

use crate::keys::KeyOrVersion;
use crate::sign::Input;
use crate::state::VersionEntry;
use crate::{Chancery, Error, Requester};

/// Length of the longest signature that is looked at, in bytes; ML-DSA-87 makes 4627.
const MAX_SIGNATURE_BYTES: usize = 8 * 1024;

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// Against which version.
    pub name: KeyOrVersion,
    /// What was signed.
    pub input: Input,
    /// The signature.
    pub signature: Vec<u8>,
    /// How an ECDSA signature is written.
    pub encoding: EcdsaEncoding,
}

/// The verdict.
#[derive(Debug, Clone)]
pub struct VerifyAnswer {
    /// The version that it was checked against.
    pub version: KeyVersionName,
    /// What came of it.
    pub verdict: Verdict,
    /// The version's state.
    pub state: KeyState,
}

/// What came of checking a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the version's signature over the input, and stands.
    Valid,
    /// It is not the version's signature over the input.
    Invalid,
    /// It was made with the version's key, which is marked as compromised: by whom is in doubt.
    KeyCompromised,
    /// It was made with the version's key, which is not in use yet: not by this service.
    KeyNotYetActive,
    /// It was made with the version's key, whose destruction is scheduled or done.
    KeyDestroyed,
}

impl Verdict {
    /// Of a signature that was made with the version's key.
    fn on_matching(version: &VersionEntry) -> Self {
        if version.life.compromised.is_some() {
            return Self::KeyCompromised;
        }
        match version.state {
            KeyState::Active | KeyState::Suspended | KeyState::Deactivated => Self::Valid,
            KeyState::Compromised => Self::KeyCompromised,
            KeyState::PendingGeneration | KeyState::PreActive => Self::KeyNotYetActive,
            KeyState::DestroyScheduled | KeyState::Destroyed => Self::KeyDestroyed,
        }
    }
}

impl Chancery {
    /// Checks a signature. One that does not fit is an answer, not an error.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::InvalidField`], [`Error::NotFound`], [`Error::NoPrimary`],
    /// [`Error::WrongState`] where the version has no public key yet, and [`Error::DigestNotAllowed`] for Ed25519.
    pub async fn verify(&self, from: &Requester, request: VerifyRequest) -> Result<VerifyAnswer, Error> {
        self.verify_now(from, request)
    }

    /// The same, without waiting for anything: it is all computing, some 0.1 ms, and for a message of 1 MiB the time to hash
    /// it.
    pub(crate) fn verify_now(&self, from: &Requester, request: VerifyRequest) -> Result<VerifyAnswer, Error> {
        let action = Action::Verify;
        let VerifyRequest { name, input, signature, encoding } = request;
        let snapshot = self.snapshot();
        let allowed = self.authorize_key(&snapshot, from, action, &name, |_| OperationContext::Plain)?;
        allowed.key.require(KeyPurpose::Signature, action)?;
        let version = self.resolve(&allowed.key, &name)?;
        if signature.is_empty() || signature.len() > MAX_SIGNATURE_BYTES {
            let rule = format!("a signature has 1 to {MAX_SIGNATURE_BYTES} bytes, not {}", signature.len());
            return Err(Error::invalid("signature", rule));
        }
        let Some(public) = version.public.as_ref() else {
            return Err(Error::WrongState { version: version.name.clone(), state: version.state, action });
        };
        let digest = match &input {
            Input::Message(message) => {
                self.check_message(message, version.algorithm)?;
                None
            }
            Input::Digest(bytes) => Some(crate::sign::digest_for(&allowed.key, bytes)?),
        };
        let signed = match (&input, &digest) {
            (_, Some(digest)) => SignedInput::Digest(digest),
            (Input::Message(message) | Input::Digest(message), None) => SignedInput::Message(message),
        };
        let verdict = match public.verify(signed, &signature, encoding) {
            Ok(()) => Verdict::on_matching(&version),
            Err(VerifyError::Invalid) => Verdict::Invalid,
            Err(VerifyError::DigestNotAllowed) => {
                return Err(Error::DigestNotAllowed { key: allowed.key.name.clone() });
            }
            Err(error @ VerifyError::WrongDigest { .. }) => {
                return Err(Error::invalid("input.digest", error.to_string()));
            }
        };
        Ok(VerifyAnswer { version: version.name.clone(), verdict, state: version.state })
    }
}

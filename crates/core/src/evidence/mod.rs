//! Callers' own signatures over their requests: checked once policy has allowed the call, before its intent is recorded, and
//! kept with the intent. docs/caller-evidence.md says what they are over.

mod nonces;

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use chancery_audit::{CallerSignatureDetails, DenialReason};
use chancery_crypto::{CallerKey, CallerKeyError, CallerNonce, CallerRequest, CallerStatement};
use chancery_model::{Action, Algorithm, Digest, HashAlgorithm, KeyPurpose, KeyRules, Sha256Hash, Timestamp};

use crate::authorize::Asked;
use crate::denials::Refused;
use crate::keys::{AllowedKey, KeyOrVersion};
use crate::sign::DeviceInput;
use crate::{Chancery, Error, Requester};

pub(crate) use nonces::Nonces;
use nonces::{AHEAD, Refusal, WINDOW};

/// A caller's signature over his request, as it came.
pub struct CallerSignature {
    /// SHA-256 of the certificate whose key signed.
    pub certificate_sha256: Sha256Hash,
    /// When he says that he signed.
    pub created: Timestamp,
    /// Never the same twice.
    pub nonce: CallerNonce,
    /// The signature.
    pub signature: Vec<u8>,
    /// Whether this very request has used the nonce: one that is decided again, since the state has changed, may go on.
    used: AtomicBool,
}

impl CallerSignature {
    /// As it came.
    #[must_use]
    pub const fn new(
        certificate_sha256: Sha256Hash,
        created: Timestamp,
        nonce: CallerNonce,
        signature: Vec<u8>,
    ) -> Self {
        Self { certificate_sha256, created, nonce, signature, used: AtomicBool::new(false) }
    }
}

impl fmt::Debug for CallerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerSignature({} bytes)", self.signature.len())
    }
}

/// The certificate of a call's connection; its key is read when it is first needed.
pub struct ClientCertificate {
    der: Vec<u8>,
    key: OnceLock<Result<CallerKey, CallerKeyError>>,
}

impl ClientCertificate {
    /// Takes it in DER.
    #[must_use]
    pub const fn new(der: Vec<u8>) -> Self {
        Self { der, key: OnceLock::new() }
    }

    fn key(&self) -> Result<&CallerKey, CallerKeyError> {
        self.key.get_or_init(|| CallerKey::of_certificate(&self.der)).as_ref().map_err(|error| *error)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({} bytes)", self.der.len())
    }
}

/// Why a request is not taken for one that its caller has signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceFault {
    /// The key requires a signature, and there is none.
    #[error("the key signs only what its caller has signed, and the request has no signature of its caller")]
    Required,
    /// The call came without a certificate, by whose key it could be checked.
    #[error("the request has a signature of its caller, and its connection no client certificate")]
    NoCertificate,
    /// Another certificate than the connection's.
    #[error("the caller's signature is of another certificate than the connection's")]
    OtherCertificate,
    /// The certificate's key is of no use for it.
    #[error("the caller's signature cannot be checked: {0}")]
    Unusable(CallerKeyError),
    /// It is not the key's signature over this request.
    #[error("the caller's signature is not one of its certificate's key over this request")]
    Invalid {
        /// Which service the signature has to be for.
        audience: String,
        /// By which hash function it has to speak of what is signed.
        hash: Option<HashAlgorithm>,
        /// By which algorithm it has to be made.
        algorithm: Algorithm,
    },
    /// It was made too long ago, or is to be made yet.
    #[error("the caller's signature is older than {} seconds, or of more than {} seconds ahead", WINDOW.as_secs(), AHEAD.as_secs())]
    Stale,
    /// Its nonce was used before.
    #[error("the caller's signature was used before")]
    Replayed,
}

impl EvidenceFault {
    pub(crate) const fn reason(&self) -> DenialReason {
        match self {
            Self::Required => DenialReason::CallerSignatureRequired,
            Self::NoCertificate | Self::OtherCertificate => DenialReason::CallerSignatureOtherCertificate,
            Self::Unusable(_) | Self::Invalid { .. } => DenialReason::CallerSignatureInvalid,
            Self::Stale => DenialReason::CallerSignatureStale,
            Self::Replayed => DenialReason::CallerSignatureReplayed,
        }
    }
}

/// What stands for it that a request was looked at for its caller's signature: it has a good one, or none and needs none.
/// Made here only, so that nothing goes to a token without it.
pub(crate) struct Vouched(Option<Box<CallerSignatureDetails>>);

impl Vouched {
    /// For the record.
    pub fn details(&self) -> Option<Box<CallerSignatureDetails>> {
        self.0.clone()
    }
}

impl Chancery {
    /// Checks a request's signature of its caller, where it has one or the key requires one. Policy has allowed the call, so
    /// the answer may speak of the key. Comes last of what can be wrong with the request: the nonce is used up by it.
    pub(crate) fn vouched(
        &self,
        from: &Requester,
        allowed: &AllowedKey,
        action: Action,
        name: &KeyOrVersion,
        signed: Option<(&CallerSignature, CallerRequest<'_>)>,
    ) -> Result<Vouched, Error> {
        let Some((signature, request)) = signed else {
            if allowed.key.rules.requires_caller_signature {
                return Err(self.deny_evidence(from, allowed, action, name, EvidenceFault::Required));
            }
            return Ok(Vouched(None));
        };
        let audience = self.inner.audience.as_deref().ok_or(Error::NoAudience)?;
        let named = name.to_string();
        let statement =
            CallerStatement { audience, created: signature.created, nonce: &signature.nonce, name: &named, request };
        let denied = |fault| self.deny_evidence(from, allowed, action, name, fault);
        let details = check(from, signature, &statement).map_err(denied)?;
        if !signature.used.load(Ordering::Acquire) {
            let CallerSignature { created, nonce, .. } = *signature;
            self.inner.nonces.take(Timestamp::now(), from.caller.uid, created, nonce).map_err(
                |refusal| match refusal {
                    Refusal::Stale => denied(EvidenceFault::Stale),
                    Refusal::Replayed => denied(EvidenceFault::Replayed),
                    Refusal::NotYet(retry_after) => Error::CallerSignaturesNotYet { retry_after },
                    Refusal::Full => Error::TooManyCallerSignatures,
                },
            )?;
            signature.used.store(true, Ordering::Release);
        }
        Ok(Vouched(Some(Box::new(details))))
    }

    fn deny_evidence(
        &self,
        from: &Requester,
        allowed: &AllowedKey,
        action: Action,
        name: &KeyOrVersion,
        fault: EvidenceFault,
    ) -> Error {
        let asked = Asked { uid: allowed.key.uid, ..Asked::of(from, action, name) };
        self.refuse(asked, Refused::Unvouched(fault))
    }

    /// Whether a key may have these rules: one that requires its callers' signatures can only be used where these are taken.
    pub(crate) fn check_requirement(&self, algorithm: Algorithm, rules: &KeyRules) -> Result<(), Error> {
        if !rules.requires_caller_signature {
            return Ok(());
        }
        if algorithm.purpose() != KeyPurpose::Signature {
            let rule = format!("is for signing keys; {algorithm} makes MACs");
            return Err(Error::invalid("key.requires_caller_signature", rule));
        }
        if self.inner.audience.is_some() { Ok(()) } else { Err(Error::NoAudience) }
    }
}

/// All but whether it is new.
fn check(
    from: &Requester,
    signature: &CallerSignature,
    statement: &CallerStatement<'_>,
) -> Result<CallerSignatureDetails, EvidenceFault> {
    let certificate = from.certificate.as_ref().ok_or(EvidenceFault::NoCertificate)?;
    let key = certificate.key().map_err(EvidenceFault::Unusable)?;
    if signature.certificate_sha256 != *key.certificate_sha256() {
        return Err(EvidenceFault::OtherCertificate);
    }
    key.verify(statement, &signature.signature).map_err(|_wrong| EvidenceFault::Invalid {
        audience: statement.audience.to_owned(),
        hash: match statement.request {
            CallerRequest::Sign { digest, .. } => Some(digest.algorithm()),
            CallerRequest::SignJwt { .. } | CallerRequest::CreateCertificateSigningRequest { .. } => None,
        },
        algorithm: key.algorithm(),
    })?;
    Ok(CallerSignatureDetails::new(statement, &certificate.der, &signature.signature))
}

/// The digest by which record and caller's signature speak of what is signed.
pub(crate) fn spoken_of(input: &DeviceInput) -> Digest {
    match input {
        DeviceInput::Digest(digest) => digest.clone(),
        // The token reads it itself (Ed25519, ML-DSA).
        DeviceInput::Message(message) => chancery_crypto::hash(HashAlgorithm::Sha256, message),
    }
}

//! A caller's own signature over his request, as the details keep it, and its verification with nothing but the details:
//! what a record's reader and a receipt's verifier call. Specified in docs/caller-evidence.md.

use crate::details::{AuthenticationDetails, Details};
use crate::hex::Hex;
use crate::leaf::Leaf;
use chancery_crypto::{
    CallerKey, CallerKeyError, CallerNonce, CallerRequest, CallerStatement, CertificateNames, certificate_names,
};
use chancery_model::{Algorithm, Digest, EcdsaEncoding, HashAlgorithm, Identity, Sha256Hash, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How old a caller's signature may be when the service looks at it.
pub const CALLER_SIGNATURE_WINDOW: Duration = Duration::from_secs(60);
/// How far the caller's clock may be ahead of the service's.
pub const CALLER_SIGNATURE_AHEAD: Duration = Duration::from_secs(5);
/// How much later than that look the intent's time may be: where the state changes meanwhile, the call is decided again. The
/// longest deadline of a call, as it is where none is configured; far more than deciding takes.
const DECIDING: Duration = Duration::from_secs(120);

/// A caller's signature over his request, and all that it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerSignatureDetails {
    /// Which service he asked.
    pub audience: String,
    /// The key or key version, as the request named it.
    pub name: String,
    /// What he asked for.
    pub request: CallerRequestDetails,
    /// When he signed: microseconds since 1970-01-01T00:00:00Z.
    pub created: i64,
    /// The nonce, 16 bytes.
    pub nonce: Hex,
    /// The certificate whose key signed, in DER.
    pub certificate: Hex,
    /// The signature, as he sent it.
    pub signature: Hex,
}

/// What a caller asked for, as he signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "method")]
pub enum CallerRequestDetails {
    /// Sign, or an item of BatchSign, or a message of StreamSign.
    Sign {
        /// What the request held.
        input: CallerInput,
        /// The hash function's name.
        hash: String,
        /// The digest.
        digest: Hex,
        /// How an ECDSA signature was to be written.
        encoding: CallerEncoding,
    },
    /// SignJwt.
    SignJwt {
        /// SHA-256 of the claims as they were in the request.
        claims_sha256: Hex,
        /// The lifetime, where the request had one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        lifetime_seconds: Option<u64>,
        /// The header's `typ`.
        token_type: String,
    },
    /// CreateCertificateSigningRequest.
    CreateCertificateSigningRequest {
        /// The subject as it was in the request.
        subject: String,
        /// The alternative names, each with its kind.
        alternative_names: Vec<String>,
    },
}

/// What a request held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerInput {
    /// The message.
    Message,
    /// Its digest.
    Digest,
}

/// How an ECDSA signature was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallerEncoding {
    /// DER.
    #[serde(rename = "DER")]
    Der,
    /// r and s, of fixed width.
    P1363,
}

/// What a caller's signature shows, once it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerEvidence {
    /// The certificate whose key signed, in DER. Who issued it is for the reader to judge.
    pub certificate: Vec<u8>,
    /// Whom the record says that the service took it for; the certificate names him.
    pub identity: Identity,
    /// SHA-256 of it.
    pub certificate_sha256: Sha256Hash,
    /// The algorithm of the caller's signature.
    pub algorithm: Algorithm,
    /// Which service he asked.
    pub audience: String,
    /// When he says that he signed.
    pub created: Timestamp,
    /// How far it reaches.
    pub covers: Covers,
}

/// How far a caller's signature reaches by the details alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// The very digest that the record says was signed.
    SignedDigest,
    /// The claims of a token, or the names of a certificate request. The record has the digest of what was made of them;
    /// whoever has the token or the request can compare it with what the caller asked for.
    WhatWasAskedFor,
}

/// Why a caller's signature in a record proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerEvidenceError {
    /// A field is not as long as it must be, or names a hash function that there is not.
    #[error("the caller's signature is not as docs/caller-evidence.md says: {0}")]
    Malformed(&'static str),
    /// The certificate's key verifies nothing.
    #[error(transparent)]
    Key(#[from] CallerKeyError),
    /// It is not the key's signature over this request.
    #[error("it is not a signature of the certificate's key over this request")]
    Invalid,
    /// It holds, and was made at a time at which the service would not have taken it for this record.
    #[error(
        "the caller signed another request than the record speaks of: it was signed {} seconds {} the record, when the service \
         would not have taken it",
        .seconds.unsigned_abs(),
        if *.seconds < 0 { "after" } else { "before" }
    )]
    OtherTime {
        /// From the signature to the record.
        seconds: i64,
    },
    /// It holds, and is of something else than the record speaks of.
    #[error("the caller signed another request than the record speaks of: its {0} is another")]
    OtherRequest(&'static str),
    /// It holds, and the record takes its caller for somebody else.
    #[error("the record takes the caller for somebody whom the certificate does not name, or not as the only one")]
    OtherIdentity,
}

impl CallerSignatureDetails {
    /// Writes down a statement that was signed with the key of `certificate`.
    #[must_use]
    pub fn new(statement: &CallerStatement<'_>, certificate: &[u8], signature: &[u8]) -> Self {
        let CallerStatement { audience, created, nonce, name, request } = *statement;
        let request = match request {
            CallerRequest::Sign { as_digest, digest, encoding } => CallerRequestDetails::Sign {
                input: if as_digest { CallerInput::Digest } else { CallerInput::Message },
                hash: digest.algorithm().to_string(),
                digest: Hex::from(digest.as_bytes()),
                encoding: match encoding {
                    EcdsaEncoding::Der => CallerEncoding::Der,
                    EcdsaEncoding::P1363 => CallerEncoding::P1363,
                },
            },
            CallerRequest::SignJwt { claims_sha256, lifetime_seconds, token_type } => CallerRequestDetails::SignJwt {
                claims_sha256: Hex::from(*claims_sha256),
                lifetime_seconds,
                token_type: token_type.to_owned(),
            },
            CallerRequest::CreateCertificateSigningRequest { subject, alternative_names } => {
                CallerRequestDetails::CreateCertificateSigningRequest {
                    subject: subject.to_owned(),
                    alternative_names: alternative_names.to_vec(),
                }
            }
        };
        Self {
            audience: audience.to_owned(),
            name: name.to_owned(),
            request,
            created: created.unix_micros(),
            nonce: Hex::from(*nonce),
            certificate: Hex::from(certificate),
            signature: Hex::from(signature),
        }
    }

    /// Whether the signature is the certificate's key's over what these details say; with the key.
    ///
    /// # Errors
    /// [`CallerEvidenceError`], but for those that compare with the rest of a record.
    pub fn verify(&self) -> Result<CallerKey, CallerEvidenceError> {
        let Self { audience, name, request, created, nonce, certificate, signature } = self;
        let nonce: CallerNonce = array(nonce, "the nonce has not 16 bytes")?;
        // What a request borrows.
        let (digest, claims);
        let request = match request {
            CallerRequestDetails::Sign { input, hash, digest: bytes, encoding } => {
                let named =
                    [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Keccak256]
                        .into_iter()
                        .find(|named| named.as_str() == hash);
                let named = named.ok_or(CallerEvidenceError::Malformed("there is no such hash function"))?;
                digest = Digest::new(named, bytes.as_bytes().to_vec())
                    .map_err(|_other_length| CallerEvidenceError::Malformed("the digest has another length"))?;
                CallerRequest::Sign {
                    as_digest: *input == CallerInput::Digest,
                    digest: &digest,
                    encoding: match encoding {
                        CallerEncoding::Der => EcdsaEncoding::Der,
                        CallerEncoding::P1363 => EcdsaEncoding::P1363,
                    },
                }
            }
            CallerRequestDetails::SignJwt { claims_sha256, lifetime_seconds, token_type } => {
                claims = array(claims_sha256, "the claims' SHA-256 has not 32 bytes")?;
                CallerRequest::SignJwt { claims_sha256: &claims, lifetime_seconds: *lifetime_seconds, token_type }
            }
            CallerRequestDetails::CreateCertificateSigningRequest { subject, alternative_names } => {
                CallerRequest::CreateCertificateSigningRequest { subject, alternative_names }
            }
        };
        let created = Timestamp::from_unix_micros(*created);
        let statement = CallerStatement { audience, created, nonce: &nonce, name, request };
        let key = CallerKey::of_certificate(certificate.as_bytes())?;
        key.verify(&statement, signature.as_bytes()).or(Err(CallerEvidenceError::Invalid))?;
        Ok(key)
    }
}

/// Verifies the caller's signature that details hold; `None` where they hold none. It needs nothing but the details: that
/// they are those of a leaf is for the caller of this function to check, by the leaf's commitment.
///
/// Besides the signature itself it checks that the details speak of what was signed: the same method, the same key, the
/// same digest, and the certificate that the caller came with; and that this certificate names whom the details say, by the
/// rule by which the service takes an identity from one.
///
/// # Errors
/// [`CallerEvidenceError`] where the signature proves nothing of this record.
pub fn verify_caller_signature(details: &Details) -> Result<Option<CallerEvidence>, CallerEvidenceError> {
    let Some(signed) = &details.caller_signature else { return Ok(None) };
    let key = signed.verify()?;
    let other = |part| Err(CallerEvidenceError::OtherRequest(part));
    if details.action.as_deref() != Some(signed.request.method()) {
        return other("method");
    }
    if !details.resource.as_deref().is_some_and(|resource| stands_for(&signed.name, resource)) {
        return other("key");
    }
    let came_with = certificate_of(details).filter(|(_, sha256)| *sha256 == key.certificate_sha256());
    let Some((identity, _)) = came_with else { return other("certificate") };
    let identity =
        identity.parse::<Identity>().ok().filter(|identity| names_alone(signed.certificate.as_bytes(), identity));
    let identity = identity.ok_or(CallerEvidenceError::OtherIdentity)?;
    let covers = match &signed.request {
        CallerRequestDetails::Sign { hash, digest, .. } => {
            if !details.signed.as_ref().is_some_and(|signed| signed.hash == *hash && signed.digest == *digest) {
                return other("digest");
            }
            Covers::SignedDigest
        }
        CallerRequestDetails::SignJwt { .. } | CallerRequestDetails::CreateCertificateSigningRequest { .. } => {
            Covers::WhatWasAskedFor
        }
    };
    Ok(Some(CallerEvidence {
        certificate: signed.certificate.as_bytes().to_vec(),
        identity,
        certificate_sha256: *key.certificate_sha256(),
        algorithm: key.algorithm(),
        audience: signed.audience.clone(),
        created: Timestamp::from_unix_micros(signed.created),
        covers,
    }))
}

/// Verifies the caller's signature that the details of a leaf hold, as [`verify_caller_signature`] does, and that it was made
/// when the leaf was: a request that was signed for an earlier record of the same digest and key, and attached to this one, is
/// none of this record. Nothing else tells the two apart, since a reader has not seen all the nonces.
///
/// # Errors
/// [`CallerEvidenceError`] where the signature proves nothing of this record.
pub fn verify_recorded_caller_signature(
    leaf: &Leaf,
    details: &Details,
) -> Result<Option<CallerEvidence>, CallerEvidenceError> {
    let evidence = verify_caller_signature(details)?;
    if let Some(CallerEvidence { created, .. }) = evidence {
        let ahead = created > leaf.time.after(CALLER_SIGNATURE_AHEAD);
        let stale = leaf.time > created.after(CALLER_SIGNATURE_WINDOW + DECIDING);
        if ahead || stale {
            let micros = leaf.time.unix_micros().saturating_sub(created.unix_micros());
            return Err(CallerEvidenceError::OtherTime { seconds: micros.div_euclid(1_000_000) });
        }
    }
    Ok(evidence)
}

impl CallerRequestDetails {
    const fn method(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "Sign",
            Self::SignJwt { .. } => "SignJwt",
            Self::CreateCertificateSigningRequest { .. } => "CreateCertificateSigningRequest",
        }
    }
}

/// Whether a name is that of a key version, or of its key: what a caller names is one or the other.
fn stands_for(name: &str, version: &str) -> bool {
    let of_key = || version.rsplit_once("/versions/").is_some_and(|(key, _number)| key == name);
    name == version || of_key()
}

/// Whom the certificate was taken for by which the caller proved who it is, and its SHA-256.
fn certificate_of(details: &Details) -> Option<(&str, &[u8])> {
    match details.authentication.as_ref()? {
        AuthenticationDetails::Certificate { identity, certificate_sha256, .. }
        | AuthenticationDetails::CertificateAndApiKey { identity, certificate_sha256, .. }
        | AuthenticationDetails::CertificateAndOidcToken { identity, certificate_sha256, .. } => {
            Some((identity, certificate_sha256.as_bytes()))
        }
        AuthenticationDetails::ApiKey { .. } | AuthenticationDetails::OidcToken { .. } => None,
    }
}

/// Whether a certificate (DER) names this identity, and by a name of its kind no other.
fn names_alone(certificate: &[u8], identity: &Identity) -> bool {
    let Some(CertificateNames { uris, dns_names }) = certificate_names(certificate) else { return false };
    let named = match identity {
        Identity::SpiffeId(_) => uris.iter().map(|uri| Identity::spiffe_id(uri)).collect::<Vec<_>>(),
        Identity::DnsName(_) => dns_names.iter().map(|name| Identity::dns_name(name)).collect(),
        Identity::Oidc { .. } => return false,
    };
    matches!(named.as_slice(), [Ok(named)] if named == identity)
}

fn array<const N: usize>(hex: &Hex, otherwise: &'static str) -> Result<[u8; N], CallerEvidenceError> {
    hex.as_bytes().try_into().or(Err(CallerEvidenceError::Malformed(otherwise)))
}

#[cfg(test)]
mod tests;

//! A caller's own signature over a request of his: the bytes that it is over, and whether it holds. Final; specified in
//! docs/caller-evidence.md.
//!
//! Every field has its length before it, in a fixed order, so that two statements with the same bytes are the same.

use crate::{MAX_CERTIFICATE_BYTES, PublicKey, SignedInput, VerifyError, certificate_spki, sha256};
use chancery_model::{Algorithm, Digest, EcdsaEncoding, Sha256Hash, Timestamp};
use std::fmt;

/// The first field of every statement: no signature over anything else is taken for one over a statement.
pub const CALLER_STATEMENT_FORMAT: &str = "chancery/caller-evidence/v1";

/// The nonce of a statement: 128 random bits.
pub type CallerNonce = [u8; 16];

/// What a caller vouches for: that he asks this service for this, now.
#[derive(Debug, Clone, Copy)]
pub struct CallerStatement<'a> {
    /// Which service he asks, by the name that its operator gave it for this.
    pub audience: &'a str,
    /// When he signed it.
    pub created: Timestamp,
    /// Random; never the same in two statements.
    pub nonce: &'a CallerNonce,
    /// The key or key version, as the request names it.
    pub name: &'a str,
    /// What he asks for.
    pub request: CallerRequest<'a>,
}

/// What a caller asks a key for.
#[derive(Clone, Copy)]
pub enum CallerRequest<'a> {
    /// Sign, or an item of BatchSign, or a message of StreamSign.
    Sign {
        /// Whether the request holds the digest itself, rather than the message.
        as_digest: bool,
        /// By the hash of the key's algorithm; SHA-256 where that names none.
        digest: &'a Digest,
        /// How an ECDSA signature is to be written.
        encoding: EcdsaEncoding,
    },
    /// SignJwt.
    SignJwt {
        /// SHA-256 of the claims, as they are in the request.
        claims_sha256: &'a Sha256Hash,
        /// The lifetime in seconds, where the request has one.
        lifetime_seconds: Option<u64>,
        /// The header's `typ`.
        token_type: &'a str,
    },
    /// CreateCertificateSigningRequest.
    CreateCertificateSigningRequest {
        /// The subject, as it is in the request.
        subject: &'a str,
        /// The alternative names, each with its kind: `dns:shop.example`.
        alternative_names: &'a [String],
    },
}

impl CallerRequest<'_> {
    /// The action that is asked for.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "Sign",
            Self::SignJwt { .. } => "SignJwt",
            Self::CreateCertificateSigningRequest { .. } => "CreateCertificateSigningRequest",
        }
    }
}

impl fmt::Debug for CallerRequest<'_> {
    // What is asked for is the caller's own business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerRequest({})", self.method())
    }
}

impl CallerStatement<'_> {
    /// The bytes that the caller signs. `certificate_sha256` is the SHA-256 of the DER certificate whose key signs them.
    #[must_use]
    pub fn encode(&self, certificate_sha256: &Sha256Hash) -> Vec<u8> {
        let Self { audience, created, nonce, name, request } = self;
        let mut bytes = Fields(Vec::with_capacity(512));
        bytes.field(CALLER_STATEMENT_FORMAT.as_bytes());
        bytes.field(audience.as_bytes());
        bytes.field(certificate_sha256);
        bytes.field(&created.unix_micros().to_be_bytes());
        bytes.field(*nonce);
        bytes.field(request.method().as_bytes());
        bytes.field(name.as_bytes());
        match request {
            CallerRequest::Sign { as_digest, digest, encoding } => {
                bytes.field(input_word(*as_digest).as_bytes());
                bytes.field(digest.algorithm().as_str().as_bytes());
                bytes.field(digest.as_bytes());
                bytes.field(encoding_word(*encoding).as_bytes());
            }
            CallerRequest::SignJwt { claims_sha256, lifetime_seconds, token_type } => {
                bytes.field(*claims_sha256);
                match lifetime_seconds {
                    Some(seconds) => bytes.field(&seconds.to_be_bytes()),
                    None => bytes.field(&[]),
                }
                bytes.field(token_type.as_bytes());
            }
            CallerRequest::CreateCertificateSigningRequest { subject, alternative_names } => {
                bytes.field(subject.as_bytes());
                alternative_names.iter().for_each(|name| bytes.field(name.as_bytes()));
            }
        }
        bytes.0
    }
}

const fn input_word(as_digest: bool) -> &'static str {
    if as_digest { "digest" } else { "message" }
}

const fn encoding_word(encoding: EcdsaEncoding) -> &'static str {
    match encoding {
        EcdsaEncoding::Der => "DER",
        EcdsaEncoding::P1363 => "P1363",
    }
}

struct Fields(Vec<u8>);

impl Fields {
    /// What comes in by gRPC is far below four gigabytes.
    fn field(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// The key of a caller's certificate, which verifies his statements.
#[derive(Clone)]
pub struct CallerKey {
    public: PublicKey,
    certificate_sha256: Sha256Hash,
}

/// Why a certificate's key verifies no statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerKeyError {
    /// Too long to be kept with each record.
    #[error("the certificate has more than {MAX_CERTIFICATE_BYTES} bytes, and it is kept with each record")]
    TooLong,
    /// Not a certificate.
    #[error("the certificate cannot be read as X.509 (RFC 5280)")]
    Malformed,
    /// A key of another kind.
    #[error("the certificate's key is not of a kind that signs requests here: {CALLER_KEYS}")]
    Unsupported,
}

/// The kinds of keys that sign requests, for people.
pub const CALLER_KEYS: &str = "ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048, 3072 or 4096 bits";

impl CallerKey {
    /// The one algorithm of each kind of key. An RSA key signs PSS and nothing else.
    const ALGORITHMS: [Algorithm; 7] = [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::Ed25519,
        Algorithm::RsaPss2048Sha256,
        Algorithm::RsaPss3072Sha256,
        Algorithm::RsaPss4096Sha256,
    ];

    /// Takes the key of a certificate (DER), of which nothing else is looked at: whom it names and who issued it is for
    /// others to judge.
    ///
    /// # Errors
    /// [`CallerKeyError`].
    pub fn of_certificate(der: &[u8]) -> Result<Self, CallerKeyError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CallerKeyError::TooLong);
        }
        let spki = certificate_spki(der).ok_or(CallerKeyError::Malformed)?;
        let key = |algorithm| PublicKey::from_spki_der_any_exponent(algorithm, &spki).ok();
        let public = Self::ALGORITHMS.into_iter().find_map(key).ok_or(CallerKeyError::Unsupported)?;
        Ok(Self { public, certificate_sha256: sha256(der) })
    }

    /// The algorithm of its signatures.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// SHA-256 of the DER certificate.
    #[must_use]
    pub const fn certificate_sha256(&self) -> &Sha256Hash {
        &self.certificate_sha256
    }

    /// Whether a signature is this key's over a statement. ECDSA signatures are in DER.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] where it is not.
    pub fn verify(&self, statement: &CallerStatement<'_>, signature: &[u8]) -> Result<(), VerifyError> {
        let bytes = statement.encode(&self.certificate_sha256);
        self.public.verify(SignedInput::Message(&bytes), signature, EcdsaEncoding::Der)
    }
}

impl fmt::Debug for CallerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerKey({})", self.algorithm())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::HashAlgorithm;
    use std::collections::BTreeSet;

    #[test]
    fn each_part_of_a_statement_changes_its_bytes() {
        let digest = Digest::new(HashAlgorithm::Sha256, vec![7; 32]).unwrap();
        let keccak = Digest::new(HashAlgorithm::Keccak256, vec![7; 32]).unwrap();
        let other = Digest::new(HashAlgorithm::Sha256, vec![8; 32]).unwrap();
        let sign = |digest, as_digest, encoding| CallerRequest::Sign { as_digest, digest, encoding };
        let (der, p1363) = (EcdsaEncoding::Der, EcdsaEncoding::P1363);
        let jwt = |claims_sha256, lifetime_seconds, token_type| CallerRequest::SignJwt {
            claims_sha256,
            lifetime_seconds,
            token_type,
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (none, one, two, joined) =
            (names(&[]), names(&["dns:a"]), names(&["dns:a", "dns:b"]), names(&["dns:adns:b"]));
        let csr =
            |subject, alternative_names| CallerRequest::CreateCertificateSigningRequest { subject, alternative_names };
        let statement = CallerStatement {
            audience: "a",
            created: Timestamp::from_unix_micros(1),
            nonce: &[0; 16],
            name: "keyRings/r/keys/k",
            request: sign(&digest, false, der),
        };
        let asking = |request| CallerStatement { request, ..statement };
        let statements = [
            statement,
            CallerStatement { audience: "b", ..statement },
            CallerStatement { created: Timestamp::from_unix_micros(2), ..statement },
            CallerStatement { nonce: &[1; 16], ..statement },
            CallerStatement { name: "keyRings/r/keys/k/versions/1", ..statement },
            asking(sign(&digest, true, der)),
            asking(sign(&keccak, false, der)),
            asking(sign(&other, false, der)),
            asking(sign(&digest, false, p1363)),
            asking(jwt(&[7; 32], None, "JWT")),
            asking(jwt(&[8; 32], None, "JWT")),
            asking(jwt(&[7; 32], Some(0), "JWT")),
            asking(jwt(&[7; 32], Some(1), "JWT")),
            asking(jwt(&[7; 32], None, "at+jwt")),
            asking(csr("CN=a", &none)),
            asking(csr("CN=b", &none)),
            asking(csr("CN=a", &one)),
            asking(csr("CN=a", &two)),
            asking(csr("CN=a", &joined)),
        ];
        let mut all: BTreeSet<Vec<u8>> = statements.iter().map(|statement| statement.encode(&[0; 32])).collect();
        all.insert(statement.encode(&[1; 32]));
        assert_eq!(all.len(), statements.len() + 1);
    }

    #[test]
    fn what_is_no_certificate_has_no_key() {
        assert_eq!(CallerKey::of_certificate(b"0").unwrap_err(), CallerKeyError::Malformed);
        let long = vec![0; MAX_CERTIFICATE_BYTES + 1];
        assert_eq!(CallerKey::of_certificate(&long).unwrap_err(), CallerKeyError::TooLong);
    }
}

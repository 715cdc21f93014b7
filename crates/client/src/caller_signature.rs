//! The caller's own signature of each request, by the key of its client certificate: docs/caller-evidence.md.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_api::v1;
use chancery_crypto::{CallerKey, CallerRequest, CallerStatement, hash, random_bytes, sha256};
use chancery_model::{Algorithm, Digest, EcdsaEncoding, HashAlgorithm, Sha256Hash, Timestamp};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use tonic::{Request, Status};

use crate::answer::proto_time;
use crate::pem::PemIdentity;
use crate::{Client, ClientError, Connection};

/// The `typ` of a token for which none is asked.
const DEFAULT_TOKEN_TYPE: &str = "JWT";

/// Signs requests with the key of a client certificate; belongs to a connection that was made with this certificate.
pub(crate) struct RequestSigner {
    certificate_sha256: Sha256Hash,
    scheme: SignatureScheme,
    key: Arc<dyn SigningKey>,
}

impl RequestSigner {
    /// Why not, in words, where the files' key signs no requests.
    pub(crate) fn of(identity: &PemIdentity) -> Result<Self, String> {
        let PemIdentity { certificate, private_key } = identity;
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(|error| error.to_string())?;
        let public = CallerKey::of_certificate(&certificate).map_err(|error| error.to_string())?;
        let private = PrivateKeyDer::from_pem_slice(private_key).map_err(|error| error.to_string())?;
        let key = any_supported_type(&private).map_err(|error| error.to_string())?;
        let scheme = match public.algorithm() {
            Algorithm::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Algorithm::EcdsaP384Sha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            Algorithm::EcdsaP521Sha512 => SignatureScheme::ECDSA_NISTP521_SHA512,
            Algorithm::Ed25519 => SignatureScheme::ED25519,
            // The others are RSA-PSS with SHA-256: see `CallerKey`.
            _ => SignatureScheme::RSA_PSS_SHA256,
        };
        Ok(Self { certificate_sha256: *public.certificate_sha256(), scheme, key })
    }

    fn sign(&self, audience: &str, name: &str, request: CallerRequest<'_>) -> Result<v1::CallerSignature, Unsigned> {
        let (created, nonce) = (Timestamp::now(), random_bytes().map_err(|error| Unsigned(error.to_string()))?);
        let statement = CallerStatement { audience, created, nonce: &nonce, name, request };
        let signer = self.key.choose_scheme(&[self.scheme]);
        let signer = signer.ok_or_else(|| Unsigned("the private key is not the certificate's".to_owned()))?;
        let signature = signer.sign(&statement.encode(&self.certificate_sha256));
        Ok(v1::CallerSignature {
            certificate_sha256: self.certificate_sha256.to_vec(),
            create_time: Some(proto_time(created)),
            nonce: nonce.to_vec(),
            signature: signature.map_err(|error| Unsigned(error.to_string()))?,
        })
    }
}

impl fmt::Debug for RequestSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// Why a request was not signed.
#[derive(Debug)]
pub(crate) struct Unsigned(String);

impl From<Unsigned> for Status {
    fn from(Unsigned(why): Unsigned) -> Self {
        Self::internal(format!("the request could not be signed on this side: {why}"))
    }
}

impl From<Unsigned> for ClientError {
    fn from(Unsigned(why): Unsigned) -> Self {
        Self::Request { what: format!("the request could not be signed: {why}") }
    }
}

/// That a client signs its requests, and what it knows for it.
#[derive(Debug)]
pub(crate) struct Evidence {
    audience: String,
    /// By which hash function a key speaks of what it signs; a key has one for good.
    hashes: Mutex<HashMap<String, HashAlgorithm>>,
}

impl Evidence {
    pub(crate) fn new(audience: String) -> Self {
        Self { audience, hashes: Mutex::default() }
    }

    fn hash_of(&self, name: &str) -> Option<HashAlgorithm> {
        // What panicked elsewhere left a whole map.
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(&key_of(name)).copied()
    }

    fn learn(&self, name: &str, hash: HashAlgorithm) {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(key_of(name), hash);
    }
}

/// The name of the key of a version, or of a key.
fn key_of(name: &str) -> String {
    name.split('/').take(4).collect::<Vec<_>>().join("/")
}

/// A request that its caller can sign.
pub(crate) trait Vouchable {
    /// Puts a new signature into it.
    fn vouch(&mut self, signer: &RequestSigner, evidence: &Evidence) -> Result<(), Unsigned>;
}

impl Vouchable for v1::SignRequest {
    fn vouch(&mut self, signer: &RequestSigner, evidence: &Evidence) -> Result<(), Unsigned> {
        use v1::sign_input::Input;
        let algorithm = evidence.hash_of(&self.name);
        let algorithm = algorithm.ok_or_else(|| Unsigned("its key's hash function is not known".to_owned()))?;
        let (as_digest, digest) = match self.input.as_ref().and_then(|input| input.input.as_ref()) {
            Some(Input::Message(message)) => (false, hash(algorithm, message)),
            Some(Input::Digest(bytes)) => {
                let digest = Digest::new(algorithm, bytes.to_vec());
                (true, digest.map_err(|error| Unsigned(error.to_string()))?)
            }
            None => return Err(Unsigned("it has nothing to sign".to_owned())),
        };
        let encoding = match self.encoding() {
            v1::SignatureEncoding::P1363 => EcdsaEncoding::P1363,
            v1::SignatureEncoding::Der | v1::SignatureEncoding::Unspecified => EcdsaEncoding::Der,
        };
        let asked = CallerRequest::Sign { as_digest, digest: &digest, encoding };
        self.caller_signature = Some(signer.sign(&evidence.audience, &self.name, asked)?);
        Ok(())
    }
}

impl Vouchable for v1::BatchSignRequest {
    fn vouch(&mut self, signer: &RequestSigner, evidence: &Evidence) -> Result<(), Unsigned> {
        self.requests.iter_mut().try_for_each(|request| request.vouch(signer, evidence))
    }
}

impl Vouchable for v1::SignJwtRequest {
    fn vouch(&mut self, signer: &RequestSigner, evidence: &Evidence) -> Result<(), Unsigned> {
        let asked = CallerRequest::SignJwt {
            claims_sha256: &sha256(self.claims.as_bytes()),
            lifetime_seconds: self.lifetime.and_then(|lifetime| u64::try_from(lifetime.seconds).ok()),
            token_type: if self.r#type.is_empty() { DEFAULT_TOKEN_TYPE } else { &self.r#type },
        };
        self.caller_signature = Some(signer.sign(&evidence.audience, &self.name, asked)?);
        Ok(())
    }
}

impl Vouchable for v1::CreateCertificateSigningRequestRequest {
    fn vouch(&mut self, signer: &RequestSigner, evidence: &Evidence) -> Result<(), Unsigned> {
        use v1::subject_alternative_name::Name;
        let word = |given: &v1::SubjectAlternativeName| match &given.name {
            Some(Name::Dns(name)) => format!("dns:{name}"),
            Some(Name::Ip(address)) => format!("ip:{address}"),
            Some(Name::Uri(uri)) => format!("uri:{uri}"),
            Some(Name::Email(address)) => format!("email:{address}"),
            None => String::new(),
        };
        let alternative_names: Vec<String> = self.subject_alternative_names.iter().map(word).collect();
        let asked = CallerRequest::CreateCertificateSigningRequest {
            subject: &self.subject,
            alternative_names: &alternative_names,
        };
        self.caller_signature = Some(signer.sign(&evidence.audience, &self.name, asked)?);
        Ok(())
    }
}

impl Client {
    /// Learns what is needed to sign a request that is to be signed with a key: by which hash it speaks of what it signs.
    /// Nothing where this client signs no requests; one call for each key otherwise.
    pub(crate) async fn learn_hash(&self, name: &str) -> Result<(), ClientError> {
        let Some(evidence) = self.evidence() else { return Ok(()) };
        if evidence.hash_of(name).is_none() {
            let (_version, key) = self.verifying_key(name).await?;
            evidence.learn(name, key.algorithm().hash().unwrap_or(HashAlgorithm::Sha256));
        }
        Ok(())
    }

    /// The request with a new signature of its caller, where this client signs requests, and the connection that it is for:
    /// one made with the certificate whose key signed, also where the files have changed meanwhile.
    pub(crate) fn vouched<Q: Vouchable>(
        &self,
        connection: Connection,
        mut request: Request<Q>,
    ) -> Result<(Connection, Request<Q>), Status> {
        let Some(evidence) = self.evidence() else { return Ok((connection, request)) };
        let (connection, signer) = connection.with_signer();
        if let Some(signer) = signer {
            request.get_mut().vouch(&signer, evidence)?;
        }
        Ok((connection, request))
    }
}

#[cfg(test)]
mod tests;

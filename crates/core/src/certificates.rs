//! Certificates of keys: the request, signed by the key itself, and the chain that came of it.

use bytes::Bytes;
use chancery_crypto::{
    AlternativeName, CallerRequest, PublicKey, SigningRequestError, check_certificate_chain, signing_request,
    signing_request_info, signing_request_pem,
};
use chancery_model::{Action, EcdsaEncoding, KeyPurpose, KeyVersionName, VersionLife};
use chancery_policy::OperationContext;
use chancery_store::{KeyVersionRow, RowChange};
use std::sync::Arc;

use crate::change::{Done, Plan};
use crate::details;
use crate::keys::KeyOrVersion;
use crate::sign::{DeviceInput, Prepared};
use crate::state::{Snapshot, VersionEntry};
use crate::{CallerSignature, Chancery, Error, Requester};

/// The most alternative names of a request.
const MAX_ALTERNATIVE_NAMES: usize = 100;
/// Length of the longest subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 1024;

/// For whom a certificate is to be asked, and with what key.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    /// With which key (its primary version) or version.
    pub name: KeyOrVersion,
    /// The subject as RFC 4514 writes it; may be empty where there are alternative names.
    pub subject: String,
    /// The subject alternative names.
    pub alternative_names: Vec<AlternativeName>,
    /// The caller's own signature of this request, where there is one.
    pub caller_signature: Option<Arc<CallerSignature>>,
}

/// A request for a certificate.
#[derive(Debug, Clone)]
pub struct CertificateRequestAnswer {
    /// The version that signed, and whose public key is to be certified.
    pub version: KeyVersionName,
    /// DER `CertificationRequest` (PKCS #10, RFC 2986).
    pub der: Vec<u8>,
    /// The same in PEM (RFC 7468).
    pub pem: String,
    /// Index of the intent in the record.
    pub record_index: u64,
}

impl Chancery {
    /// Makes a request for a certificate. It is a signature like any other: permitted, recorded, counted. A PRE_ACTIVE version
    /// makes no other.
    ///
    /// # Errors
    /// As [`Chancery::sign`]; [`Error::InvalidField`] for names that are not well-formed, [`Error::NotInX509`] for an
    /// algorithm that X.509 does not know.
    pub async fn create_certificate_signing_request(
        &self,
        from: &Requester,
        request: CertificateRequest,
    ) -> Result<CertificateRequestAnswer, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let action = Action::CreateCertificateSigningRequest;
            let mut signed = Vec::new();
            // Decided afresh where the state changes meanwhile, perhaps for another version: the last one counts.
            let prepare = |snapshot: &Snapshot| {
                let (prepared, info) = this.prepare_certificate_request(snapshot, &from, &request)?;
                signed = info;
                Ok(prepared)
            };
            let answer = this.sign_one(&from, action, prepare).await?;
            let unwritten = |error| Error::internal(format!("a signed request cannot be written: {error}"));
            let der = signing_request(answer.algorithm, &signed, &answer.signature).map_err(unwritten)?;
            let pem = signing_request_pem(&der).map_err(unwritten)?;
            Ok(CertificateRequestAnswer { version: answer.version, der, pem, record_index: answer.record_index })
        })
        .await
    }

    fn prepare_certificate_request(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        request: &CertificateRequest,
    ) -> Result<(Prepared, Vec<u8>), Error> {
        let action = Action::CreateCertificateSigningRequest;
        let CertificateRequest { name, subject, alternative_names, caller_signature } = request;
        let words: Vec<String> = alternative_names.iter().map(ToString::to_string).collect();
        let allowed = self.authorize_key(snapshot, from, action, name, |key| OperationContext::SigningRequest {
            subject: subject.clone(),
            alternative_names: words.clone(),
            version: key.version_named(name),
        })?;
        allowed.key.require(KeyPurpose::Signature, action)?;
        if subject.len() > MAX_SUBJECT_BYTES {
            return Err(Error::invalid("subject", format!("has at most {MAX_SUBJECT_BYTES} bytes")));
        }
        if alternative_names.len() > MAX_ALTERNATIVE_NAMES {
            let rule = format!("are at most {MAX_ALTERNATIVE_NAMES}, not {}", alternative_names.len());
            return Err(Error::invalid("subject_alternative_names", rule));
        }
        let version = self.resolve(&allowed.key, name)?;
        let public = match &version.public {
            Some(public) if version.state.may_prove_possession() => public.clone(),
            _ => return Err(Error::NotActive { version: version.name.clone(), state: version.state }),
        };
        let info = signing_request_info(&public, subject, alternative_names).map_err(|error| match error {
            SigningRequestError::NotInX509(algorithm) => Error::NotInX509 { key: allowed.key.name.clone(), algorithm },
            SigningRequestError::AlternativeName(_) => Error::invalid("subject_alternative_names", error.to_string()),
            SigningRequestError::Subject(_) | SigningRequestError::Nobody => {
                Error::invalid("subject", error.to_string())
            }
            SigningRequestError::Der(source) => {
                Error::internal(format!("a request for a certificate cannot be written: {source}"))
            }
        })?;
        let input = input_for(&public, &info);
        let asked = CallerRequest::CreateCertificateSigningRequest { subject, alternative_names: &words };
        let signed = caller_signature.as_deref().map(|signature| (signature, asked));
        let vouched = self.vouched(from, &allowed, action, name, signed)?;
        let encoding = EcdsaEncoding::Der;
        let prepared = self.prepared(snapshot, from, allowed, &version, public, input, encoding, vouched)?;
        Ok((prepared, info))
    }

    /// Keeps the certificates of a version: its own, then each one's issuer; none takes them away.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongPurpose`], [`Error::WrongState`] where the public key is not
    /// one that may be trusted, [`Error::InvalidField`] where they are no chain of this version's key, and those of the record.
    pub async fn set_certificate_chain(
        &self,
        from: &Requester,
        name: KeyVersionName,
        chain: Vec<Vec<u8>>,
    ) -> Result<Arc<VersionEntry>, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move { this.set_certificates_to_the_end(&from, &name, &chain).await }).await
    }

    async fn set_certificates_to_the_end(
        &self,
        from: &Requester,
        name: &KeyVersionName,
        chain: &[Vec<u8>],
    ) -> Result<Arc<VersionEntry>, Error> {
        let action = Action::SetCertificateChain;
        let named = KeyOrVersion::Version(name.clone());
        let done = self
            .change(|snapshot| {
                let allowed = self.authorize_key(snapshot, from, action, &named, |_| OperationContext::Plain)?;
                allowed.key.require(KeyPurpose::Signature, action)?;
                let version = self.resolve(&allowed.key, &named)?;
                let Some(public) = version.public.as_ref().filter(|_| version.state.is_published()) else {
                    return Err(Error::WrongState { version: version.name.clone(), state: version.state, action });
                };
                check_certificate_chain(public, chain)
                    .map_err(|error| Error::invalid("certificate_chain", error.to_string()))?;
                if version.life.certificates == *chain {
                    return Ok(Plan::Nothing(version));
                }
                let row = version.to_row();
                let life = VersionLife { certificates: chain.to_vec(), ..row.life };
                let row = KeyVersionRow { life, ..version.to_row() };
                let act = details::Described::new(from, &allowed.permit, version.name.to_string())
                    .because(&said(chain))
                    .act(version.uid, false);
                Ok(Plan::Change { rows: vec![RowChange::PutKeyVersion(row)], act: Box::new(act), then: () })
            })
            .await?;
        match done {
            Done::Nothing(version) => Ok(version),
            Done::Changed { snapshot, .. } => {
                let key = snapshot.keys.get(&name.key).ok_or_else(|| Error::NotFound { name: name.key.to_string() })?;
                self.resolve(key, &named)
            }
        }
    }
}

/// What the token is handed of a request. A few KiB, which a token that reads it itself takes.
fn input_for(public: &PublicKey, info: &[u8]) -> DeviceInput {
    match public.algorithm().hash() {
        Some(hash) => DeviceInput::Digest(chancery_crypto::hash(hash, info)),
        None => DeviceInput::Message(Bytes::copy_from_slice(info)),
    }
}

/// What the record says of a chain.
fn said(chain: &[Vec<u8>]) -> String {
    match chain.first() {
        None => "the certificates are taken away".to_owned(),
        Some(own) => {
            let hash: String = chancery_crypto::sha256(own).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} certificates, the first one of SHA-256 {hash}", chain.len())
        }
    }
}

//! Certificates, good and bad ones.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::Error;

/// The subject of the authority that `chancery dev` makes; its certificates chain to it by this name and its key.
const DEV_AUTHORITY: &str = "Chancery development CA";

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A client's identity as files, PEM.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// A certificate to issue: by default valid for the day around now, for client authentication, without any name.
#[derive(Debug, Clone)]
pub struct Leaf {
    names: Vec<SanName>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    purpose: ExtendedKeyUsagePurpose,
    serial: Option<u64>,
    key: KeyKind,
}

/// The kinds of keys that certificates are issued for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 bits.
    Rsa2048,
}

impl KeyKind {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
    }
}

/// A certificate revocation list to issue: by default of an hour ago, in force for a week, with nothing on it.
#[derive(Debug, Clone)]
pub struct Crl {
    revoked: Vec<u64>,
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
}

#[derive(Debug, Clone)]
enum SanName {
    Uri(String),
    Dns(String),
}

impl Leaf {
    /// Without a name: add some.
    #[must_use]
    pub fn nameless() -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            names: Vec::new(),
            not_before: now - Duration::hours(12),
            not_after: now + Duration::hours(12),
            purpose: ExtendedKeyUsagePurpose::ClientAuth,
            serial: None,
            key: KeyKind::default(),
        }
    }

    /// With one SPIFFE id, as a caller has it.
    #[must_use]
    pub fn spiffe(id: &str) -> Self {
        Self::nameless().uri(id)
    }

    /// Adds a URI SAN, well-formed or not.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.names.push(SanName::Uri(uri.to_owned()));
        self
    }

    /// Adds a DNS SAN.
    #[must_use]
    pub fn dns(mut self, name: &str) -> Self {
        self.names.push(SanName::Dns(name.to_owned()));
        self
    }

    /// Valid until an hour ago.
    #[must_use]
    pub fn expired(self) -> Self {
        let now = OffsetDateTime::now_utc();
        self.valid(now - Duration::days(2), now - Duration::hours(1))
    }

    /// Valid in an hour.
    #[must_use]
    pub fn not_yet_valid(self) -> Self {
        let now = OffsetDateTime::now_utc();
        self.valid(now + Duration::hours(1), now + Duration::days(2))
    }

    /// Valid for this time.
    #[must_use]
    pub fn valid(self, not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        Self { not_before, not_after, ..self }
    }

    /// For server authentication only: not what a client should show.
    #[must_use]
    pub fn for_servers(self) -> Self {
        Self { purpose: ExtendedKeyUsagePurpose::ServerAuth, ..self }
    }

    /// With a key of this kind; P-256 otherwise.
    #[must_use]
    pub fn key(self, key: KeyKind) -> Self {
        Self { key, ..self }
    }

    /// With this serial number, by which it can be revoked. Without: one that no two certificates share.
    #[must_use]
    pub fn serial(self, serial: u64) -> Self {
        Self { serial: Some(serial), ..self }
    }
}

impl Default for Crl {
    fn default() -> Self {
        Self::new()
    }
}

impl Crl {
    /// With nothing on it.
    #[must_use]
    pub fn new() -> Self {
        let now = OffsetDateTime::now_utc();
        Self { revoked: Vec::new(), this_update: now - Duration::hours(1), next_update: now + Duration::days(7) }
    }

    /// Revokes the certificate with this serial number.
    #[must_use]
    pub fn revoke(mut self, serial: u64) -> Self {
        self.revoked.push(serial);
        self
    }

    /// In force for this time (`thisUpdate`, `nextUpdate`), to the second.
    #[must_use]
    pub fn valid(self, this_update: OffsetDateTime, next_update: OffsetDateTime) -> Self {
        Self { this_update, next_update, ..self }
    }
}

impl Authority {
    /// The authority of the development folder `dir`.
    ///
    /// # Errors
    /// [`Error`] where its key cannot be read.
    pub fn of_dev(dir: &Path) -> Result<Self, Error> {
        let read =
            |path: PathBuf| std::fs::read_to_string(&path).map_err(Error::system(format!("read {}", path.display())));
        let key = KeyPair::from_pem(&read(dir.join("tls/ca.key"))?)?;
        Ok(Self {
            certificate: read(dir.join("tls/ca.pem"))?,
            issuer: Issuer::new(authority_params(DEV_AUTHORITY), key),
        })
    }

    /// Another authority, which nobody has heard of.
    ///
    /// # Errors
    /// [`Error`] where its key cannot be made.
    pub fn unknown() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let params = authority_params("Somebody else's CA");
        Ok(Self { certificate: params.self_signed(&key)?.pem(), issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a CRL, PEM.
    ///
    /// # Errors
    /// [`Error`] where it would be over before it begins.
    pub fn revocation_list(&self, crl: &Crl) -> Result<String, Error> {
        let revoked = crl.revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: crl.this_update,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: crl.this_update,
            next_update: crl.next_update,
            crl_number: SerialNumber::from(u64::try_from(crl.this_update.unix_timestamp()).unwrap_or_default()),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    /// Issues a certificate and writes it and its key to `dir/{name}.pem` and `dir/{name}.key`.
    ///
    /// # Errors
    /// [`Error`] where a name cannot be put into a certificate, or a file cannot be written.
    pub fn issue(&self, leaf: Leaf, dir: &Path, name: &str) -> Result<IdentityFiles, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![leaf.purpose];
        params.not_before = leaf.not_before;
        params.not_after = leaf.not_after;
        params.serial_number = leaf.serial.map(SerialNumber::from);
        for name in leaf.names {
            params.subject_alt_names.push(match name {
                SanName::Uri(uri) => SanType::URI(uri.try_into()?),
                SanName::Dns(name) => SanType::DnsName(name.try_into()?),
            });
        }
        let key = leaf.key.generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = IdentityFiles {
            certificate: dir.join(format!("{name}.pem")),
            private_key: dir.join(format!("{name}.key")),
        };
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).map_err(Error::system(format!("write {}", path.display())))
        };
        write(&files.certificate, certificate.pem())?;
        write(&files.private_key, key.serialize_pem())?;
        Ok(files)
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_written_with_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::unknown().unwrap();
        let leaf = Leaf::spiffe("spiffe://chancery.dev/a").uri("spiffe://chancery.dev/b").dns("b.example").expired();
        let files = authority.issue(leaf, folder.path(), "both").unwrap();
        assert!(std::fs::read_to_string(files.certificate).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(std::fs::read_to_string(files.private_key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(authority.certificate().starts_with("-----BEGIN CERTIFICATE-----"));
    }
}

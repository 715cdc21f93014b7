//! A certificate authority for tests: real certificates, of any kind a test needs.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its certificates is to stop")]

use crate::config::{ClientAuth, ClientCa, IdentityKind, Limits, Listener};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationList, CertificateRevocationListParams,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, SigningKey as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use x509_cert::crl::{CertificateList, TbsCertList};
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode as _, Encode as _};

/// An authority and its key.
pub(crate) struct TestAuthority {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    /// The issuer's key once more, to sign what rcgen does not make.
    key: KeyPair,
}

/// An issued certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

/// Parameters of a client's certificate with these SANs and the common name `checkout`.
pub(crate) fn client(sans: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans.to_vec();
    params.distinguished_name.push(DnType::CommonName, "checkout");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = SystemTime::now().checked_sub(Duration::from_secs(60)).unwrap().into();
    params.not_after = SystemTime::now().checked_add(Duration::from_secs(3600)).unwrap().into();
    params
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

impl TestAuthority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign], None)
    }

    /// Its certificate says that its key signs certificates and nothing else.
    pub(crate) fn without_crl_sign(name: &str) -> Self {
        Self::with(name, vec![KeyUsagePurpose::KeyCertSign], None)
    }

    /// An authority whose certificate this one issues.
    pub(crate) fn subordinate(&self, name: &str) -> Self {
        Self::with(name, vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign], Some(&self.issuer))
    }

    /// The same, with a certificate that is valid until then.
    pub(crate) fn subordinate_until(&self, name: &str, until: SystemTime) -> Self {
        let usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self::made(name, usages, Some(&self.issuer), KeyPair::generate().unwrap(), Some(until))
    }

    /// The certificate that this authority issues for another one's name and key, beside the one that that has.
    pub(crate) fn cross_sign(&self, name: &str, other: &Self) -> Certificate {
        let usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::from_pem(&other.key.serialize_pem()).unwrap();
        Self::made(name, usages, Some(&self.issuer), key, None).certificate
    }

    fn with(name: &str, usages: Vec<KeyUsagePurpose>, above: Option<&Issuer<'static, KeyPair>>) -> Self {
        Self::made(name, usages, above, KeyPair::generate().unwrap(), None)
    }

    fn made(
        name: &str,
        usages: Vec<KeyUsagePurpose>,
        above: Option<&Issuer<'static, KeyPair>>,
        key: KeyPair,
        until: Option<SystemTime>,
    ) -> Self {
        let again = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        let mut params = CertificateParams::default();
        if let Some(until) = until {
            params.not_after = until.into();
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = usages;
        let certificate = match above {
            None => params.self_signed(&key),
            Some(above) => params.signed_by(&key, above),
        };
        Self { certificate: certificate.unwrap(), issuer: Issuer::new(params, key), key: again }
    }

    /// A CRL with these serial numbers on it.
    pub(crate) fn crl(&self, revoked: &[u64], from: SystemTime, until: SystemTime) -> CertificateRevocationList {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: from.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: from.into(),
            next_update: until.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }

    /// A CRL that is changed before it is signed, DER; its one entry is the serial number 99.
    pub(crate) fn altered_crl(&self, change: &dyn Fn(&mut TbsCertList)) -> Vec<u8> {
        let now = SystemTime::now();
        let signer = Self::new("the same list by any signer");
        let list = signer.crl(&[99], now - Duration::from_secs(60), now + Duration::from_secs(3600));
        let mut list = CertificateList::from_der(list.der()).unwrap();
        let certificate = x509_cert::Certificate::from_der(self.certificate.der()).unwrap();
        list.tbs_cert_list.issuer = certificate.tbs_certificate().subject().clone();
        change(&mut list.tbs_cert_list);
        let signature = self.key.sign(&list.tbs_cert_list.to_der().unwrap()).unwrap();
        list.signature = BitString::from_bytes(&signature).unwrap();
        list.to_der().unwrap()
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    /// A certificate for `localhost`.
    pub(crate) fn server(&self) -> Issued {
        let mut params = client(&[dns("localhost")]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }
}

/// Writes a listener's files into a folder: `server.pem`, `server.key` and one `ca-N.pem` for each authority.
pub(crate) fn listener(folder: &Path, server: &Issued, authorities: &[(&TestAuthority, IdentityKind)]) -> Listener {
    let client_cas = authorities.iter().enumerate().map(|(index, (authority, identity))| {
        let path = folder.join(format!("ca-{index}.pem"));
        std::fs::write(&path, authority.certificate.pem()).unwrap();
        ClientCa { certificate: path, identity: *identity, crl: None, crl_warning: Duration::from_secs(24 * 3600) }
    });
    let client_cas = client_cas.collect();
    let (certificate, private_key) = write(folder, server);
    Listener {
        address: "127.0.0.1:0".parse().unwrap(),
        certificate,
        private_key,
        client_auth: ClientAuth::Required,
        client_cas,
        oidc: Vec::new(),
        reflection: true,
        limits: Limits::default(),
    }
}

/// Writes the service's certificate and key, replacing what is there.
pub(crate) fn write(folder: &Path, server: &Issued) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&certificate, server.certificate.pem()).unwrap();
    std::fs::write(&key, server.key.serialize_pem()).unwrap();
    (certificate, key)
}

//! The development authority and the three certificates that it issues.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::der::{DecodePem as _, Encode as _};
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::Folder;
use crate::exit::Failure;
use crate::files::{self, Readers};

/// How long the authority's certificate is valid.
const AUTHORITY_DAYS: i64 = 3650;
/// How long the certificates that it issues are valid.
const LEAF_DAYS: i64 = 365;
/// What has less than this left is made anew at a start.
const RENEW_DAYS: i64 = 30;
/// Certificates begin this much before they are made: clocks differ.
const BACKDATE: time::Duration = time::Duration::hours(1);

/// A certificate to issue.
struct Leaf {
    /// Names the files: `tls/{name}.pem` and `tls/{name}.key`.
    name: &'static str,
    purpose: ExtendedKeyUsagePurpose,
    names: Vec<SanType>,
}

/// Makes what is missing, does not fit or ends soon; leaves the rest as it is.
pub fn prepare(folder: &Folder, now: OffsetDateTime, done: &mut Vec<String>) -> Result<(), Failure> {
    let tls = folder.path("tls");
    std::fs::create_dir_all(&tls).map_err(|error| Failure::file("create the folder", &tls, error))?;
    let (params, key) = authority(&tls, now, done)?;
    let key_id = params.key_identifier(&key);
    let issuer = Issuer::new(params, key);
    for leaf in leaves()? {
        let key_path = tls.join(format!("{}.key", leaf.name));
        let certificate_path = tls.join(format!("{}.pem", leaf.name));
        if still_good(&key_path, &certificate_path, &key_id, now)? {
            continue;
        }
        let key = KeyPair::generate().map_err(making)?;
        let certificate = leaf.params(now).signed_by(&key, &issuer).map_err(making)?;
        // The key first: a certificate without its key is seen and replaced, like one whose key is another.
        files::write(&key_path, key.serialize_pem().as_bytes(), Readers::Owner)?;
        files::write(&certificate_path, certificate.pem().as_bytes(), Readers::Everybody)?;
        done.push(format!("issued {} ({LEAF_DAYS} days)", certificate_path.display()));
    }
    Ok(())
}

/// The authority's key, and the parameters under which it issues.
fn authority(tls: &Path, now: OffsetDateTime, done: &mut Vec<String>) -> Result<(CertificateParams, KeyPair), Failure> {
    let key_path = tls.join("ca.key");
    let certificate_path = tls.join("ca.pem");
    let key = match read_key(&key_path)? {
        Some(key) => key,
        None => {
            let key = KeyPair::generate().map_err(making)?;
            files::write(&key_path, key.serialize_pem().as_bytes(), Readers::Owner)?;
            key
        }
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("Chancery development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATE;
    params.not_after = now + time::Duration::days(AUTHORITY_DAYS);
    let present = read_certificate(&certificate_path)?;
    if !present.is_some_and(|present| belongs_to(&present, &key) && lasts(&present, now)) {
        let certificate = params.self_signed(&key).map_err(making)?;
        files::write(&certificate_path, certificate.pem().as_bytes(), Readers::Everybody)?;
        done.push(format!("made the development authority {}", certificate_path.display()));
    }
    Ok((params, key))
}

fn leaves() -> Result<[Leaf; 3], Failure> {
    let uri = |text: &str| text.try_into().map(SanType::URI).map_err(making);
    Ok([
        Leaf {
            name: "server",
            purpose: ExtendedKeyUsagePurpose::ServerAuth,
            names: vec![
                SanType::DnsName("localhost".try_into().map_err(making)?),
                SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
                SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
            ],
        },
        Leaf {
            name: "operator",
            purpose: ExtendedKeyUsagePurpose::ClientAuth,
            names: vec![uri("spiffe://chancery.dev/operator")?],
        },
        Leaf {
            name: "caller",
            purpose: ExtendedKeyUsagePurpose::ClientAuth,
            names: vec![uri("spiffe://chancery.dev/caller")?],
        },
    ])
}

impl Leaf {
    fn params(self, now: OffsetDateTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("Chancery development {}", self.name));
        params.subject_alt_names = self.names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.purpose];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - BACKDATE;
        params.not_after = now + time::Duration::days(LEAF_DAYS);
        params
    }
}

/// For people who look at the certificate; nothing here decides by it.
fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn still_good(key: &Path, certificate: &Path, authority: &[u8], now: OffsetDateTime) -> Result<bool, Failure> {
    let (Some(key), Some(certificate)) = (read_key(key)?, read_certificate(certificate)?) else { return Ok(false) };
    Ok(belongs_to(&certificate, &key) && lasts(&certificate, now) && issued_by(&certificate, authority))
}

fn belongs_to(certificate: &Certificate, key: &KeyPair) -> bool {
    certificate
        .tbs_certificate()
        .subject_public_key_info()
        .to_der()
        .is_ok_and(|spki| spki == key.subject_public_key_info())
}

fn lasts(certificate: &Certificate, now: OffsetDateTime) -> bool {
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    let needed = now + time::Duration::days(RENEW_DAYS);
    UNIX_EPOCH + end > SystemTime::from(needed)
}

fn issued_by(certificate: &Certificate, authority: &[u8]) -> bool {
    match certificate.tbs_certificate().get_extension::<AuthorityKeyIdentifier>() {
        Ok(Some((_, AuthorityKeyIdentifier { key_identifier: Some(id), .. }))) => id.as_bytes() == authority,
        _ => false,
    }
}

/// The key; `None` where there is none. One that cannot be read is not replaced: somebody put it there.
fn read_key(path: &Path) -> Result<Option<KeyPair>, Failure> {
    files::read(path)?
        .map(|pem| KeyPair::from_pem(&pem).map_err(|error| unusable(path, "private key", error)))
        .transpose()
}

fn read_certificate(path: &Path) -> Result<Option<Certificate>, Failure> {
    files::read(path)?
        .map(|pem| Certificate::from_pem(pem.as_bytes()).map_err(|error| unusable(path, "certificate", error)))
        .transpose()
}

fn unusable(path: &Path, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::local(format!("{} is no {what} that can be used", path.display()))
        .because(error)
        .hint("remove the file; the next start makes a new one")
}

fn making(error: rcgen::Error) -> Failure {
    Failure::local("cannot make a certificate").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    fn folder() -> (tempfile::TempDir, Folder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        (parent, folder)
    }

    /// Prepares, and answers which files changed.
    fn changed(folder: &Folder, now: OffsetDateTime) -> Vec<String> {
        let read = || -> BTreeMap<String, Vec<u8>> {
            let Ok(entries) = std::fs::read_dir(folder.path("tls")) else { return BTreeMap::new() };
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            entries.map(|entry| entry.unwrap().path()).map(|path| (name(&path), std::fs::read(path).unwrap())).collect()
        };
        let before = read();
        prepare(folder, now, &mut Vec::new()).unwrap();
        read().into_iter().filter(|(name, bytes)| before.get(name) != Some(bytes)).map(|(name, _)| name).collect()
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    const ALL: [&str; 8] =
        ["ca.key", "ca.pem", "caller.key", "caller.pem", "operator.key", "operator.pem", "server.key", "server.pem"];

    #[test]
    fn everything_is_made_once_and_keys_are_their_owners_alone() {
        let (_parent, folder) = folder();
        assert_eq!(changed(&folder, now()), ALL);
        assert_eq!(changed(&folder, now()), [""; 0]);
        for key in ALL.iter().filter(|name| name.ends_with(".key")) {
            let mode = std::fs::metadata(folder.path("tls").join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn what_ends_soon_is_made_anew_by_the_same_authority() {
        let (_parent, folder) = folder();
        changed(&folder, now());
        assert_eq!(changed(&folder, now() + time::Duration::days(LEAF_DAYS - RENEW_DAYS - 1)), [""; 0]);
        let leaves = changed(&folder, now() + time::Duration::days(LEAF_DAYS - RENEW_DAYS));
        assert_eq!(leaves, ALL[2..]);
    }

    #[test]
    fn an_authority_that_ends_soon_keeps_its_key() {
        let (_parent, folder) = folder();
        changed(&folder, now());
        let later = now() + time::Duration::days(AUTHORITY_DAYS - RENEW_DAYS);
        let renewed = changed(&folder, later);
        assert!(renewed.contains(&"ca.pem".to_owned()) && !renewed.contains(&"ca.key".to_owned()), "{renewed:?}");
        assert_eq!(changed(&folder, later), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_made_and_nothing_else() {
        let (_parent, folder) = folder();
        changed(&folder, now());
        let path = |name: &str| folder.path("tls").join(name);
        std::fs::remove_file(path("caller.key")).unwrap();
        assert_eq!(changed(&folder, now()), ["caller.key", "caller.pem"]);
        // A crash between the two files of a leaf: a new key beside the old certificate.
        std::fs::copy(path("caller.key"), path("operator.key")).unwrap();
        assert_eq!(changed(&folder, now()), ["operator.key", "operator.pem"]);
        std::fs::remove_file(path("ca.pem")).unwrap();
        assert_eq!(changed(&folder, now()), ["ca.pem"]);
        std::fs::remove_file(path("ca.key")).unwrap();
        assert_eq!(changed(&folder, now()), ALL);
    }

    #[test]
    fn what_somebody_else_put_there_is_not_overwritten() {
        let (_parent, folder) = folder();
        changed(&folder, now());
        std::fs::write(folder.path("tls/ca.key"), "precious").unwrap();
        let (text, _) = prepare(&folder, now(), &mut Vec::new()).unwrap_err().report();
        assert!(text.contains("ca.key") && text.contains("remove the file"), "{text}");
    }

    #[test]
    fn clients_have_one_spiffe_id_and_the_server_its_names() {
        let (_parent, folder) = folder();
        changed(&folder, now());
        for (name, wanted) in [("caller", 1), ("operator", 1), ("server", 3)] {
            let certificate = read_certificate(&folder.path(&format!("tls/{name}.pem"))).unwrap().unwrap();
            let names = certificate.tbs_certificate().get_extension::<x509_cert::ext::pkix::SubjectAltName>();
            assert_eq!(names.unwrap().unwrap().1.0.len(), wanted, "{name}");
        }
    }
}

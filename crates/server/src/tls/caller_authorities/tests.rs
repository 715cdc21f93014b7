//! Real certificates of real authorities, some of them long past.

use super::*;
use crate::test_authority::{Issued, TestAuthority, client, dns, uri};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use std::time::SystemTime;

const CHECKOUT: &str = "spiffe://chancery.dev/checkout";
const HOUR: Duration = Duration::from_secs(3600);

fn read(authorities: &[(&[&TestAuthority], IdentityKind)]) -> CallerAuthorities {
    let folder = tempfile::tempdir().unwrap();
    let files = authorities.iter().enumerate().map(|(number, (authorities, kind))| {
        let path = folder.path().join(format!("{number}.pem"));
        let text: String = authorities.iter().map(|authority| authority.certificate.pem()).collect();
        std::fs::write(&path, text).unwrap();
        (path, *kind)
    });
    CallerAuthorities::read(files.collect::<Vec<_>>()).unwrap()
}

fn checkout() -> CertificateParams {
    client(&[uri(CHECKOUT), dns("shop.example")])
}

fn spiffe() -> Identity {
    Identity::spiffe_id(CHECKOUT).unwrap()
}

fn check(authorities: &CallerAuthorities, issued: &Issued) -> Result<(), CallerCertificateError> {
    let now = Timestamp::now();
    authorities.check(issued.certificate.der(), &spiffe(), now, now)
}

#[test]
fn a_certificate_is_held_to_the_authorities_that_were_given() {
    let (own, another, stranger) =
        (TestAuthority::new("own"), TestAuthority::new("another"), TestAuthority::new("own"));
    let issued = own.issue(&checkout());
    let kind = IdentityKind::Spiffe;
    assert_eq!(check(&read(&[(&[&own], kind)]), &issued), Ok(()));
    assert_eq!(check(&read(&[(&[&another, &own], kind)]), &issued), Ok(()), "several in one file");
    assert_eq!(check(&read(&[(&[&another], kind), (&[&own], kind)]), &issued), Ok(()), "several files");
    let refused = Err(CallerCertificateError::OtherIssuer);
    assert_eq!(check(&read(&[(&[&another], kind)]), &issued), refused);
    assert_eq!(check(&read(&[(&[&stranger], kind)]), &issued), refused, "of the same name");
    // A record keeps no certificate between the two.
    let below = own.subordinate("below");
    let issued = below.issue(&checkout());
    assert_eq!(check(&read(&[(&[&own], kind)]), &issued), refused);
    assert_eq!(check(&read(&[(&[&own, &below], kind)]), &issued), Ok(()));
}

#[test]
fn it_has_to_have_been_valid_when_it_was_used() {
    let own = TestAuthority::new("own");
    let authorities = read(&[(&[&own], IdentityKind::Spiffe)]);
    let long_ago = SystemTime::now() - 1000 * HOUR;
    let mut params = checkout();
    (params.not_before, params.not_after) = (long_ago.into(), (long_ago + HOUR).into());
    let issued = own.issue(&params);
    let begins = Timestamp::from(long_ago);
    let check = |recorded, signed| authorities.check(issued.certificate.der(), &spiffe(), recorded, signed);
    let (within, second) = (begins.after(HOUR / 2), Duration::from_secs(1));
    assert_eq!(check(within, within), Ok(()));
    let (before, after) = (begins.before(2 * second), begins.after(HOUR + 2 * second));
    for at in [before, after, Timestamp::now(), Timestamp::from_unix_micros(-1), Timestamp::from_unix_micros(i64::MAX)]
    {
        assert_eq!(check(at, at), Err(CallerCertificateError::NotValid), "{at:?}");
    }
    // A call that waited while it ran out, and one whose caller's clock is behind.
    assert_eq!(check(after, begins.after(HOUR - second)), Ok(()));
    assert_eq!(check(begins.after(second), before), Ok(()));
}

#[test]
fn each_authority_is_trusted_with_the_names_that_it_was_given_for() {
    let own = TestAuthority::new("own");
    let issued = own.issue(&checkout());
    let shop = Identity::dns_name("shop.example").unwrap();
    let now = Timestamp::now();
    let check = |kinds: &[IdentityKind], identity: &Identity| {
        let file = [&own];
        let given: Vec<(&[&TestAuthority], _)> = kinds.iter().map(|kind| (file.as_slice(), *kind)).collect();
        read(&given).check(issued.certificate.der(), identity, now, now)
    };
    assert_eq!(check(&[IdentityKind::Dns], &shop), Ok(()));
    for (kind, identity, words) in
        [(IdentityKind::Spiffe, &shop, "one for SPIFFE ids"), (IdentityKind::Dns, &spiffe(), "one for DNS names")]
    {
        let refused = check(&[kind], identity).unwrap_err();
        assert_eq!(refused, CallerCertificateError::OtherKind { identity: identity.clone() });
        let text = refused.to_string();
        assert!(text.contains(words) && text.ends_with(&identity.to_string()), "{text}");
        assert_eq!(check(&[IdentityKind::Spiffe, IdentityKind::Dns], identity), Ok(()), "given for both");
    }
}

#[test]
fn what_is_no_clients_certificate_is_refused_as_in_the_handshake() {
    let own = TestAuthority::new("own");
    let authorities = read(&[(&[&own], IdentityKind::Spiffe)]);
    let mut params = checkout();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let refused = check(&authorities, &own.issue(&params)).unwrap_err();
    assert!(matches!(refused, CallerCertificateError::Unusable(_)), "{refused}");
    let now = Timestamp::now();
    let refused = authorities.check(b"no certificate", &spiffe(), now, now).unwrap_err();
    assert!(matches!(refused, CallerCertificateError::Unusable(_)), "{refused}");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (file, words) in [(empty, "holds no PEM certificate"), (folder.path().join("nothing"), "cannot be read")] {
        let error = CallerAuthorities::read([(file, IdentityKind::Spiffe)]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

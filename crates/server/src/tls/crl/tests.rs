//! Lists of a real authority, and what is wrong with the others.

use super::*;
use crate::config::{IdentityKind, Listener};
use crate::identity::Unidentified;
use crate::test_authority::{Issued, TestAuthority, client, listener, uri};
use crate::tls::{self, Authorities, Freshness, TlsError};
use rcgen::SerialNumber;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::crl::TbsCertList;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::ext::Extension;

const HOUR: Duration = Duration::from_secs(3600);

/// A listener with an authority and its CRL.
struct Ground {
    authority: TestAuthority,
    listener: Listener,
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("one");
        let mut listener = listener(folder.path(), &authority.server(), &[(&authority, IdentityKind::Spiffe)]);
        listener.client_cas[0].crl = Some(folder.path().join("ca.crl"));
        Self { authority, listener, folder }
    }

    fn publish(&self, crl: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join("ca.crl"), crl).unwrap();
    }

    fn load(&self) -> Result<Arc<Authorities>, TlsError> {
        tls::load(&self.listener, 0).map(|material| material.authorities)
    }

    fn refusal(&self) -> CrlError {
        match self.load().unwrap_err() {
            TlsError::Crl { source, .. } => source,
            other => panic!("{other}"),
        }
    }

    fn issue(&self, serial: u64) -> Issued {
        issue(&self.authority, serial)
    }
}

fn issue(authority: &TestAuthority, serial: u64) -> Issued {
    let mut params = client(&[uri("spiffe://chancery.dev/checkout")]);
    params.serial_number = Some(SerialNumber::from(serial));
    authority.issue(&params)
}

fn ask(authorities: &Authorities, issued: &Issued) -> Result<Option<SystemTime>, Unidentified> {
    ask_at(authorities, issued, SystemTime::now())
}

fn ask_at(authorities: &Authorities, issued: &Issued, now: SystemTime) -> Result<Option<SystemTime>, Unidentified> {
    authorities.trust(&[issued.certificate.der().clone()], now).map(|trust| trust.until)
}

fn extension(id: &str, critical: bool, value: &[u8]) -> Extension {
    let extn_value = OctetString::new(value.to_vec()).unwrap();
    Extension { extn_id: ObjectIdentifier::new(id).unwrap(), critical, extn_value }
}

fn add(extension: Extension) -> impl FnOnce(&mut TbsCertList) {
    move |list| list.crl_extensions.get_or_insert_default().push(extension)
}

#[test]
fn what_is_on_the_list_is_revoked_and_nothing_else() {
    let ground = Ground::new();
    let (good, bad) = (ground.issue(7), ground.issue(8));
    let now = SystemTime::now();
    let crl = ground.authority.crl(&[8, 9], now - HOUR, now + HOUR);
    for form in [crl.pem().unwrap().into_bytes(), crl.der().to_vec()] {
        ground.publish(form);
        let authorities = ground.load().unwrap();
        let until = ask(&authorities, &good).unwrap().unwrap();
        assert!(until > now + HOUR - Duration::from_secs(2) && until <= now + HOUR);
        assert_eq!(ask(&authorities, &bad), Err(Unidentified::Revoked));
    }
}

#[test]
fn a_list_past_its_time_lets_nobody_in() {
    let ground = Ground::new();
    let issued = ground.issue(7);
    let now = SystemTime::now();
    ground.publish(ground.authority.crl(&[], now - 2 * HOUR, now + HOUR / 2).der());
    let authorities = ground.load().unwrap();
    assert!(ask(&authorities, &issued).is_ok());
    assert_eq!(ask_at(&authorities, &issued, now + HOUR / 2), Err(Unidentified::CrlStale));
    ground.publish(ground.authority.crl(&[], now - 2 * HOUR, now - HOUR).der());
    assert_eq!(ask(&ground.load().unwrap(), &issued), Err(Unidentified::CrlStale));
}

#[test]
fn warned_of_before_its_time_is_over() {
    let mut ground = Ground::new();
    ground.listener.client_cas[0].crl_warning = HOUR;
    let now = SystemTime::now();
    ground.publish(ground.authority.crl(&[], now - HOUR, now + 3 * HOUR).der());
    let authorities = ground.load().unwrap();
    let [crl] = authorities.crls() else { panic!("{:?}", authorities.crls()) };
    let at = |since: Duration| crl.freshness(crl.next_update - 2 * HOUR + since);
    assert_eq!(at(Duration::ZERO), Freshness::Fresh);
    assert_eq!(at(HOUR - Duration::from_secs(1)), Freshness::Fresh);
    assert_eq!(at(HOUR), Freshness::Due);
    assert_eq!(at(2 * HOUR - Duration::from_secs(1)), Freshness::Due);
    assert_eq!(at(2 * HOUR), Freshness::Stale);
    assert_eq!(at(3 * HOUR), Freshness::Stale);
    assert!(crl.shown(now).contains("less than 3 hours"), "{}", crl.shown(now));
    assert!(crl.shown(now + 4 * HOUR).contains("past its nextUpdate"));
}

#[test]
fn what_the_authority_did_not_sign_is_refused() {
    let ground = Ground::new();
    let now = SystemTime::now();
    // Another key in the same name.
    let pretender = TestAuthority::new("one");
    ground.publish(pretender.crl(&[], now - HOUR, now + HOUR).der());
    assert!(matches!(ground.refusal(), CrlError::Signature { .. }));
    // Signed, and changed afterwards: one bit of what is signed, and one of the signature.
    let good = ground.authority.crl(&[8], now - HOUR, now + HOUR).der().to_vec();
    let last = good.len() - 1;
    for place in [last, last - 100] {
        let mut changed = good.clone();
        changed[place] ^= 1;
        ground.publish(&changed);
        ground.load().unwrap_err();
    }
    ground.publish(&good);
    ground.load().unwrap();
    let other = TestAuthority::new("two");
    ground.publish(other.crl(&[], now - HOUR, now + HOUR).der());
    let refusal = ground.refusal();
    assert!(matches!(&refusal, CrlError::OfAnother { issuer } if issuer == "CN=one"), "{refusal}");
}

#[test]
fn what_is_no_complete_list_is_refused() {
    let ground = Ground::new();
    let altered = |change: &dyn Fn(&mut TbsCertList)| {
        ground.publish(ground.authority.altered_crl(change));
        ground.refusal()
    };
    let delta = altered(&|list| add(extension("2.5.29.27", true, &[2, 1, 1]))(list));
    assert!(matches!(delta, CrlError::Delta), "{delta}");
    // IssuingDistributionPoint with indirectCRL.
    let indirect = altered(&|list| add(extension("2.5.29.28", true, &[0x30, 3, 0x84, 1, 0xff]))(list));
    assert!(matches!(indirect, CrlError::Indirect), "{indirect}");
    // Of one distribution point, by its name; for callers' certificates, for authorities', for some reasons.
    let name = [&[0x30, 11, 0xa0, 9, 0xa0, 7, 0x86, 5][..], b"ldap:"].concat();
    for scope in [&name[..], &[0x30, 3, 0x81, 1, 0xff], &[0x30, 3, 0x82, 1, 0xff], &[0x30, 4, 0x83, 2, 6, 0x40]] {
        let partial = altered(&|list| add(extension("2.5.29.28", true, scope))(list));
        assert!(matches!(partial, CrlError::Partial), "{scope:?}: {partial}");
    }
    let unknown = altered(&|list| add(extension("1.3.6.1.4.1.99999.1", true, &[5, 0]))(list));
    assert!(matches!(unknown, CrlError::CriticalExtension), "{unknown}");
    let of_an_entry = altered(&|list| {
        let entry = list.revoked_certificates.as_mut().unwrap().first_mut().unwrap();
        entry.crl_entry_extensions = Some(vec![extension("1.3.6.1.4.1.99999.1", true, &[5, 0])]);
    });
    assert!(matches!(of_an_entry, CrlError::CriticalExtension), "{of_an_entry}");
    let endless = altered(&|list| list.next_update = None);
    assert!(matches!(endless, CrlError::NoNextUpdate), "{endless}");
    // The same way of making them makes one that is taken: what nobody has to understand changes nothing.
    ground.publish(ground.authority.altered_crl(&|list| add(extension("1.3.6.1.4.1.99999.1", false, &[5, 0]))(list)));
    ground.load().unwrap();
}

#[test]
fn what_is_no_list_is_refused() {
    let ground = Ground::new();
    assert!(matches!(ground.refusal(), CrlError::Unreadable(_)));
    ground.publish("");
    assert!(matches!(ground.refusal(), CrlError::Empty));
    ground.publish(ground.authority.certificate.pem());
    assert!(matches!(ground.refusal(), CrlError::Empty));
    ground.publish(ground.authority.certificate.der());
    assert!(matches!(ground.refusal(), CrlError::Malformed(_)));
    ground.publish("-----BEGIN X509 CRL-----\nbroken\n");
    assert!(matches!(ground.refusal(), CrlError::Pem(_)));
    let now = SystemTime::now();
    let mut longer = ground.authority.crl(&[], now - HOUR, now + HOUR).der().to_vec();
    longer.push(0);
    ground.publish(longer);
    assert!(matches!(ground.refusal(), CrlError::Malformed(_)));
}

#[test]
fn an_authority_whose_key_may_not_sign_lists_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let authority = TestAuthority::without_crl_sign("one");
    let mut listener = listener(folder.path(), &authority.server(), &[(&authority, IdentityKind::Spiffe)]);
    listener.client_cas[0].crl = Some(folder.path().join("ca.crl"));
    std::fs::write(folder.path().join("ca.crl"), authority.altered_crl(&|_same| {})).unwrap();
    let Err(TlsError::Crl { source: CrlError::KeyUsage { .. }, .. }) = tls::load(&listener, 0) else { panic!() };
}

#[test]
fn each_authority_is_held_to_its_own_list() {
    let mut ground = Ground::new();
    let free = TestAuthority::new("without a list");
    let path = ground.folder.path().join("free.pem");
    std::fs::write(&path, free.certificate.pem()).unwrap();
    let mut entry = ground.listener.client_cas[0].clone();
    (entry.certificate, entry.crl) = (path, None);
    ground.listener.client_cas.push(entry);
    let now = SystemTime::now();
    ground.publish(ground.authority.crl(&[7], now - HOUR, now + HOUR).der());
    let authorities = ground.load().unwrap();
    assert_eq!(ask(&authorities, &issue(&free, 7)), Ok(None), "the same serial number, of another authority");
    assert_eq!(ask(&authorities, &ground.issue(7)), Err(Unidentified::Revoked));

    // An entry without a list beside the one with it is no way past the list.
    let mut twice = ground.listener.client_cas[0].clone();
    twice.crl = None;
    for place in [0, 2] {
        let mut listener = ground.listener.clone();
        listener.client_cas.insert(place, twice.clone());
        let authorities = tls::load(&listener, 0).unwrap().authorities;
        assert_eq!(ask(&authorities, &ground.issue(7)), Err(Unidentified::Revoked));
        assert!(ask(&authorities, &ground.issue(8)).unwrap().is_some());
    }
}

#[test]
fn while_an_authority_changes_its_key_each_key_has_a_list() {
    let ground = Ground::new();
    let next = TestAuthority::new("one");
    let both = ground.authority.certificate.pem() + &next.certificate.pem();
    std::fs::write(&ground.listener.client_cas[0].certificate, both).unwrap();
    let now = SystemTime::now();
    let old = ground.authority.crl(&[7], now - HOUR, now + HOUR).pem().unwrap();
    let new = next.crl(&[8], now - HOUR, now + 2 * HOUR).pem().unwrap();
    for lists in [format!("{old}{new}"), format!("{new}{old}")] {
        ground.publish(lists);
        let authorities = ground.load().unwrap();
        assert_eq!(ask(&authorities, &ground.issue(7)), Err(Unidentified::Revoked));
        assert_eq!(ask(&authorities, &issue(&next, 8)), Err(Unidentified::Revoked));
        assert!(ask(&authorities, &ground.issue(8)).unwrap() < ask(&authorities, &issue(&next, 7)).unwrap());
    }
    ground.publish(old);
    assert!(matches!(ground.refusal(), CrlError::Signature { .. }), "the new key has none");
}

#[test]
fn of_authorities_below_the_trusted_one_the_lists_are_needed_too() {
    let ground = Ground::new();
    let below = ground.authority.subordinate("below");
    let issued = issue(&below, 7);
    let chain = [issued.certificate.der().clone(), below.certificate.der().clone()];
    let now = SystemTime::now();
    let above = ground.authority.crl(&[], now - HOUR, now + 2 * HOUR).pem().unwrap();
    let ask = |lists: String| {
        ground.publish(lists);
        ground.load().unwrap().trust(&chain, now).map(|trust| trust.until.unwrap() < now + HOUR + HOUR / 2)
    };
    assert_eq!(ask(above.clone()), Err(Unidentified::RevocationUnknown));
    let list = |revoked: &[u64]| below.crl(revoked, now - HOUR, now + HOUR).pem().unwrap();
    assert_eq!(ask(format!("{above}{}", list(&[]))), Ok(true), "until the first of the two is over");
    assert_eq!(ask(format!("{above}{}", list(&[7]))), Err(Unidentified::Revoked));
    // In its name, by another key.
    let forged = TestAuthority::new("below").crl(&[], now - HOUR, now + HOUR).pem().unwrap();
    assert_eq!(ask(format!("{above}{forged}")), Err(Unidentified::RevocationUnknown));
}

/// Of several ways up that fail, rustls names one, and "expired" before "revoked"; so who is revoked sends something expired.
#[test]
fn no_certificate_that_is_sent_beside_makes_a_revoked_one_good() {
    let ground = Ground::new();
    let now = SystemTime::now();
    ground.publish(ground.authority.crl(&[7], now - HOUR, now + HOUR).der());
    // In the authority's name, by a key and an issuer of whoever sends it.
    let expired = TestAuthority::new("another").subordinate_until("one", now - HOUR);
    let above = TestAuthority::new("above");
    let crossed = above.cross_sign("one", &ground.authority);
    let beside = [expired.certificate.der().clone(), crossed.der().clone()];
    let path = ground.folder.path().join("above.pem");
    std::fs::write(&path, above.certificate.pem()).unwrap();
    let mut without = ground.listener.client_cas[0].clone();
    without.crl = None;
    let twice = without.clone();
    without.certificate = path;
    for other in [twice, without] {
        for place in [0, 1] {
            let mut listener = ground.listener.clone();
            listener.client_cas.insert(place, other.clone());
            let authorities = tls::load(&listener, 0).unwrap().authorities;
            for sent in [&beside[..], &beside[..1], &beside[1..]] {
                let ask = |serial| {
                    let chain = [&[ground.issue(serial).certificate.der().clone()][..], sent].concat();
                    authorities.trust(&chain, now).map(|trust| trust.kind)
                };
                ask(7).unwrap_err();
                assert_eq!(ask(8), Ok(IdentityKind::Spiffe));
            }
        }
    }
}

#[test]
fn of_two_lists_by_one_key_the_newer_counts_wherever_it_stands() {
    let ground = Ground::new();
    let now = SystemTime::now();
    let list = |revoked: &[u64], age: Duration, left: Duration| {
        ground.authority.crl(revoked, now - age, now + left).pem().unwrap()
    };
    let (older, newer) = (list(&[], 2 * HOUR, HOUR / 2), list(&[7], HOUR, 2 * HOUR));
    for lists in [format!("{older}{newer}"), format!("{newer}{older}")] {
        ground.publish(lists);
        let authorities = ground.load().unwrap();
        assert_eq!(ask(&authorities, &ground.issue(7)), Err(Unidentified::Revoked));
        let until = ask(&authorities, &ground.issue(8)).unwrap().unwrap();
        assert!(until > now + HOUR, "what a newer one has followed need not be fresh");
        assert!(authorities.crls()[0].next_update > now + HOUR);
    }
}

#[test]
fn each_list_of_a_file_is_held_to_its_own_dates() {
    let ground = Ground::new();
    let (one, two) = (ground.authority.subordinate("first"), ground.authority.subordinate("second"));
    let now = SystemTime::now();
    let list = |of: &TestAuthority, age: Duration, left: Duration| of.crl(&[9], now - age, now + left).pem().unwrap();
    let publish = |ages: [Duration; 3]| {
        let [above, first, second] = ages;
        let lists = [list(&ground.authority, above, 4 * HOUR), list(&one, first, 3 * HOUR), list(&two, second, HOUR)];
        ground.publish(lists.concat());
        ground.load().unwrap()
    };
    let before = publish([4 * HOUR, 2 * HOUR, 2 * HOUR]);
    // All but one are newer, and that one would bring back what was revoked.
    let (older, newer) = (publish([HOUR, HOUR, 3 * HOUR]), publish([HOUR, HOUR, 2 * HOUR]));
    assert!(matches!(older.may_follow(&before), Err(TlsError::Crl { source: CrlError::Older, .. })));
    newer.may_follow(&before).unwrap();
    // A chain is held to the lists that it needs.
    for (below, left) in [(&one, 3 * HOUR), (&two, HOUR)] {
        let chain = [issue(below, 7).certificate.der().clone(), below.certificate.der().clone()];
        let until = newer.trust(&chain, now).unwrap().until.unwrap();
        assert!(until > now + left - HOUR / 2 && until <= now + left, "{left:?}");
    }
    assert!(newer.crls()[0].next_update <= now + HOUR, "the operator hears of the first that is over");
}

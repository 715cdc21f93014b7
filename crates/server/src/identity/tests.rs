//! Real certificates of real authorities: who is taken for whom, and who is refused.

use super::*;
use crate::config::Listener;
use crate::test_authority::{Issued, TestAuthority, client, dns, listener, uri};
use crate::tls;
use rcgen::CertificateParams;
use std::time::Duration;

const CHECKOUT: &str = "spiffe://chancery.dev/checkout";

/// A listener that trusts two authorities: one names callers by SPIFFE ids, the other by DNS names.
struct Ground {
    spiffe: TestAuthority,
    dns: TestAuthority,
    listener: Listener,
    authorities: Arc<Authorities>,
    _folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spiffe, dns) = (TestAuthority::new("spiffe"), TestAuthority::new("dns"));
        let trusted = [(&spiffe, IdentityKind::Spiffe), (&dns, IdentityKind::Dns)];
        let listener = listener(folder.path(), &spiffe.server(), &trusted);
        let authorities = tls::load(&listener, 0).unwrap().authorities;
        Self { spiffe, dns, listener, authorities, _folder: folder }
    }

    fn identify(&self, issued: &Issued) -> Result<Identity, Unidentified> {
        self.identify_at(issued, SystemTime::now())
    }

    fn identify_at(&self, issued: &Issued, now: SystemTime) -> Result<Identity, Unidentified> {
        let peer = self.peer(issued);
        let CertificateProof { identity, .. } = peer.identify(&self.authorities, now)?.proof.clone();
        Ok(identity)
    }

    fn peer(&self, issued: &Issued) -> Peer {
        let chain = vec![issued.certificate.der().clone()];
        Peer::new(SocketAddr::from(([127, 0, 0, 1], 50_123)), chain, &self.authorities)
    }

    fn spiffe(&self, params: &CertificateParams) -> Result<Identity, Unidentified> {
        self.identify(&self.spiffe.issue(params))
    }
}

#[test]
fn the_one_spiffe_id_is_the_identity() {
    let ground = Ground::new();
    let expected = Identity::spiffe_id(CHECKOUT).unwrap();
    assert_eq!(ground.spiffe(&client(&[uri(CHECKOUT)])), Ok(expected.clone()));
    // Names of other kinds mean nothing beside it.
    assert_eq!(ground.spiffe(&client(&[dns("shop.example"), uri(CHECKOUT)])), Ok(expected));
}

#[test]
fn two_uri_sans_are_refused_even_where_one_is_no_spiffe_id() {
    let ground = Ground::new();
    for second in ["spiffe://chancery.dev/billing", "https://chancery.dev/checkout", CHECKOUT] {
        let refused = ground.spiffe(&client(&[uri(CHECKOUT), uri(second)]));
        assert_eq!(refused, Err(Unidentified::SeveralIdentities(IdentityKind::Spiffe)), "{second}");
    }
}

#[test]
fn a_common_name_is_nobody() {
    let ground = Ground::new();
    assert_eq!(ground.spiffe(&client(&[])), Err(Unidentified::NoIdentity(IdentityKind::Spiffe)));
    let nobody = ground.identify(&ground.dns.issue(&client(&[])));
    assert_eq!(nobody, Err(Unidentified::NoIdentity(IdentityKind::Dns)));
}

#[test]
fn a_uri_that_is_no_spiffe_id_is_refused() {
    let ground = Ground::new();
    for text in
        ["https://chancery.dev/checkout", "spiffe://chancery.dev", "spiffe://chancery.dev/../root", "spiffe://Dev/a"]
    {
        let refused = ground.spiffe(&client(&[uri(text)]));
        let expected =
            Unidentified::MalformedIdentity { kind: IdentityKind::Spiffe, source: InvalidIdentity::SpiffeId };
        assert_eq!(refused, Err(expected), "{text}");
    }
}

#[test]
fn the_issuer_decides_which_name_counts() {
    let ground = Ground::new();
    let both = client(&[uri(CHECKOUT), dns("Shop.Example")]);
    assert_eq!(ground.spiffe(&both), Ok(Identity::spiffe_id(CHECKOUT).unwrap()));
    let by_dns = ground.identify(&ground.dns.issue(&both));
    assert_eq!(by_dns, Ok(Identity::dns_name("shop.example").unwrap()));
    // A DNS name from the authority of SPIFFE ids is nobody, and the other way round.
    assert_eq!(ground.spiffe(&client(&[dns("shop.example")])), Err(Unidentified::NoIdentity(IdentityKind::Spiffe)));
    let by_dns = ground.identify(&ground.dns.issue(&client(&[uri(CHECKOUT)])));
    assert_eq!(by_dns, Err(Unidentified::NoIdentity(IdentityKind::Dns)));
}

#[test]
fn two_dns_sans_and_wildcards_are_refused() {
    let ground = Ground::new();
    let two = ground.identify(&ground.dns.issue(&client(&[dns("a.example"), dns("b.example")])));
    assert_eq!(two, Err(Unidentified::SeveralIdentities(IdentityKind::Dns)));
    let wildcard = ground.identify(&ground.dns.issue(&client(&[dns("*.example")])));
    let expected = Unidentified::MalformedIdentity { kind: IdentityKind::Dns, source: InvalidIdentity::DnsName };
    assert_eq!(wildcard, Err(expected));
}

#[test]
fn an_authority_between_that_runs_out_ends_the_calls_of_an_open_connection() {
    let ground = Ground::new();
    let now = SystemTime::now();
    let minutes = |minutes: u64| now + Duration::from_secs(60 * minutes);
    let below = ground.spiffe.subordinate_until("below", minutes(10));
    // Sent as well, and on no way up.
    let beside = ground.spiffe.subordinate_until("beside", minutes(5));
    let gone = ground.spiffe.subordinate_until("gone", now - Duration::from_secs(60));
    let chain = [below.issue(&client(&[uri(CHECKOUT)])).certificate.der().clone()].into_iter();
    let chain = chain.chain([&below, &beside, &gone].map(|authority| authority.certificate.der().clone())).collect();
    let peer = Peer::new(SocketAddr::from(([127, 0, 0, 1], 50_123)), chain, &ground.authorities);
    let identify = |at| peer.identify(&ground.authorities, at).map(|_| ());
    assert_eq!(identify(now), Ok(()));
    assert_eq!(identify(minutes(6)), Ok(()), "what is on no way up may run out");
    assert_eq!(identify(minutes(9)), Ok(()));
    assert_eq!(identify(minutes(11)), Err(Unidentified::Untrusted));
    assert_eq!(identify(minutes(12)), Err(Unidentified::Untrusted));
}

#[test]
fn dates_are_checked_on_each_call_of_one_connection() {
    let ground = Ground::new();
    let issued = ground.spiffe.issue(&client(&[uri(CHECKOUT)]));
    let now = SystemTime::now();
    assert!(ground.identify_at(&issued, now).is_ok());
    let (before, after) = (now - Duration::from_secs(120), now + Duration::from_secs(2 * 3600));
    assert_eq!(ground.identify_at(&issued, before), Err(Unidentified::NotYetValid));
    assert_eq!(ground.identify_at(&issued, after), Err(Unidentified::Expired));
}

#[test]
fn a_certificate_of_another_authority_is_nobodys() {
    let ground = Ground::new();
    let stranger = TestAuthority::new("spiffe");
    let refused = ground.identify(&stranger.issue(&client(&[uri(CHECKOUT)])));
    assert_eq!(refused, Err(Unidentified::Untrusted), "the same name, another key");
}

#[test]
fn no_certificate_is_nobody() {
    let ground = Ground::new();
    let peer = Peer::new(SocketAddr::from(([127, 0, 0, 1], 50_123)), Vec::new(), &ground.authorities);
    let unidentified = peer.identify(&ground.authorities, SystemTime::now()).unwrap_err();
    assert_eq!(unidentified, Unidentified::NoCertificate);
}

#[test]
fn an_authority_with_two_kinds_of_identity_names_nobody() {
    let mut ground = Ground::new();
    let mut twice = ground.listener.client_cas[0].clone();
    twice.identity = IdentityKind::Dns;
    ground.listener.client_cas.push(twice);
    ground.authorities = tls::load(&ground.listener, 1).unwrap().authorities;
    assert_eq!(ground.spiffe(&client(&[uri(CHECKOUT)])), Err(Unidentified::AmbiguousAuthority));
}

#[test]
fn an_authority_that_is_taken_away_ends_the_calls_of_living_connections() {
    let mut ground = Ground::new();
    let peer = ground.peer(&ground.spiffe.issue(&client(&[uri(CHECKOUT)])));
    let same_again = tls::load(&ground.listener, 1).unwrap().authorities;
    assert!(peer.identify(&same_again, SystemTime::now()).is_ok());
    ground.listener.client_cas.remove(0);
    let without = tls::load(&ground.listener, 2).unwrap().authorities;
    assert_eq!(peer.identify(&without, SystemTime::now()).unwrap_err(), Unidentified::Untrusted);
    assert!(peer.identify(&same_again, SystemTime::now()).is_ok(), "it comes back with the authority");
}

#[test]
fn fingerprint_and_serial_are_those_of_the_certificate() {
    let ground = Ground::new();
    let mut params = client(&[uri(CHECKOUT)]);
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x0a, 0xbc]));
    let issued = ground.spiffe.issue(&params);
    let peer = ground.peer(&issued);
    let found = &peer.identify(&ground.authorities, SystemTime::now()).unwrap().proof;
    let CertificateProof { fingerprint, serial, .. } = found;
    assert_eq!(serial, "0abc");
    assert_eq!(*fingerprint, chancery_crypto::sha256(issued.certificate.der()));
}

#[test]
fn each_reason_has_a_word_of_its_own_and_says_what_to_do() {
    let kind = IdentityKind::Spiffe;
    let all = [
        Unidentified::NoCertificate,
        Unidentified::Unreadable,
        Unidentified::NoIdentity(kind),
        Unidentified::SeveralIdentities(kind),
        Unidentified::MalformedIdentity { kind, source: InvalidIdentity::SpiffeId },
        Unidentified::NotYetValid,
        Unidentified::Expired,
        Unidentified::Untrusted,
        Unidentified::Revoked,
        Unidentified::CrlStale,
        Unidentified::RevocationUnknown,
        Unidentified::AmbiguousAuthority,
        Unidentified::Unregistered(Identity::spiffe_id(CHECKOUT).unwrap()),
        Unidentified::OidcToken(chancery_oidc::Refused::Expired),
        Unidentified::OidcToken(chancery_oidc::Refused::Signature),
        Unidentified::OidcKeysUnavailable,
    ];
    let words: std::collections::HashSet<_> = all.iter().map(Unidentified::reason).collect();
    assert_eq!(words.len(), all.len());
    for reason in &all {
        assert!(reason.to_string().contains([';', ':']), "{reason}");
    }
}

/// Whether a refusal is recorded as one of nobody in particular.
fn is_a_strangers(unidentified: &Unidentified) -> bool {
    match unidentified {
        Unidentified::NoCertificate
        | Unidentified::Unreadable
        | Unidentified::NoIdentity(_)
        | Unidentified::SeveralIdentities(_)
        | Unidentified::MalformedIdentity { .. }
        | Unidentified::NotYetValid
        | Unidentified::Expired
        | Unidentified::Untrusted
        | Unidentified::Revoked
        | Unidentified::CrlStale
        | Unidentified::RevocationUnknown
        | Unidentified::AmbiguousAuthority
        | Unidentified::Unregistered(_)
        | Unidentified::Authorization
        | Unidentified::ApiKeyMalformed(_)
        | Unidentified::ApiKeyUnknown
        | Unidentified::ApiKeysUnavailable
        | Unidentified::OidcToken(_)
        | Unidentified::OidcKeysUnavailable => true,
        Unidentified::Suspended(_)
        | Unidentified::ApiKeyExpired
        | Unidentified::ApiKeyRevoked
        | Unidentified::ApiKeySource(_)
        | Unidentified::AnotherCaller(_)
        | Unidentified::NoLongerTheirs(_)
        | Unidentified::FactorMissing { .. } => false,
    }
}

#[test]
fn the_page_says_how_many_leaves_strangers_can_cause() {
    let kind = IdentityKind::Spiffe;
    let others = [
        Unidentified::NoCertificate,
        Unidentified::Unreadable,
        Unidentified::NoIdentity(kind),
        Unidentified::SeveralIdentities(kind),
        Unidentified::MalformedIdentity { kind, source: InvalidIdentity::SpiffeId },
        Unidentified::NotYetValid,
        Unidentified::Expired,
        Unidentified::Untrusted,
        Unidentified::Revoked,
        Unidentified::CrlStale,
        Unidentified::RevocationUnknown,
        Unidentified::AmbiguousAuthority,
        Unidentified::Unregistered(Identity::spiffe_id(CHECKOUT).unwrap()),
        Unidentified::Authorization,
        Unidentified::ApiKeyMalformed(InvalidApiKey::Form),
        Unidentified::ApiKeyUnknown,
        Unidentified::ApiKeysUnavailable,
    ];
    let of_tokens = chancery_oidc::Refused::ALL.into_iter().map(Unidentified::from);
    let all: Vec<Unidentified> = others.into_iter().chain(of_tokens).collect();
    assert!(all.iter().all(is_a_strangers));
    let words = all.iter().map(Unidentified::reason).collect::<std::collections::BTreeSet<_>>().len();
    let page = include_str!("../../../../docs/audit-record.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [format!("`message` is one of {words} words,"), format!("can cause {words} leaves a minute")] {
        assert!(page.contains(&said), "docs/audit-record.md has to say: {said}");
    }
}

//! Certificates of keys: requests that the key itself signs in its token, and chains that fit it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use chancery_api::v1::subject_alternative_name::Name;
use chancery_api::v1::{self, Algorithm, KeyState, Verdict};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{Fixture, assert_field, assert_refused, create, eventually, message, new_key, records};
use chancery_tests::life_cycle::{compromise, deactivate, get_version, schedule, seconds, suspend};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use tonic::{Code, Response, Status};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::request::CertReq;

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";

/// Whoever may sign at all may have certificates of one domain only.
const POLICY: &str = r#"
@id("certificates-of-our-domain-only")
@description("Requests for certificates name hosts of ours.")
forbid (principal, action == Chancery::Action::"CreateCertificateSigningRequest", resource)
when { resource.hasTag("domain") && resource.getTag("domain") == "ours" }
unless { ["dns:shop.example"].containsAll(context.subjectAlternativeNames) && context.subject == "CN=shop" };
"#;

fn setup() -> Setup {
    Chancery::setup()
        .with(CallerSetup::new("verifier").role("verifier").ring("dev"))
        .policy("certificates.cedar", POLICY)
}

async fn csr(
    client: &Client,
    key: &str,
    subject: &str,
    names: &[Name],
) -> Result<Response<v1::CreateCertificateSigningRequestResponse>, Status> {
    let names = names.iter().map(|name| v1::SubjectAlternativeName { name: Some(name.clone()) });
    let request = v1::CreateCertificateSigningRequestRequest {
        name: key.to_owned(),
        subject: subject.to_owned(),
        subject_alternative_names: names.collect(),
        ..v1::CreateCertificateSigningRequestRequest::default()
    };
    client.keys().create_certificate_signing_request(request).await
}

async fn set(client: &Client, version: &str, chain: &[&[u8]]) -> Result<Response<v1::KeyVersion>, Status> {
    let certificate_chain = chain.iter().map(|der| der.to_vec()).collect();
    let request = v1::SetCertificateChainRequest { name: version.to_owned(), certificate_chain };
    client.keys().set_certificate_chain(request).await
}

async fn public_key(client: &Client, version: &str) -> Vec<u8> {
    let format = v1::PublicKeyFormat::Der.into();
    let request = v1::GetPublicKeyRequest { name: version.to_owned(), format };
    client.signing().get_public_key(request).await.unwrap().into_inner().data
}

/// Checks the request's signature by its own public key, as a CA does, and answers what it asks for.
fn checked(der: &[u8], algorithm: &'static dyn VerificationAlgorithm) -> CertReq {
    let request = CertReq::from_der(der).unwrap();
    let key = request.info.public_key.subject_public_key.as_bytes().unwrap();
    let signed = request.info.to_der().unwrap();
    let signature = request.signature.as_bytes().unwrap();
    UnparsedPublicKey::new(algorithm, key).verify(&signed, signature).unwrap();
    request
}

#[tokio::test]
async fn a_request_is_signed_by_its_own_key_and_says_what_was_asked_for() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let algorithms: [(Algorithm, &'static dyn VerificationAlgorithm, &str); 5] = [
        (Algorithm::EcdsaP256Sha256, &signature::ECDSA_P256_SHA256_ASN1, "1.2.840.10045.4.3.2"),
        (Algorithm::EcdsaP384Sha384, &signature::ECDSA_P384_SHA384_ASN1, "1.2.840.10045.4.3.3"),
        (Algorithm::RsaPkcs12048Sha256, &signature::RSA_PKCS1_2048_8192_SHA256, "1.2.840.113549.1.1.11"),
        (Algorithm::RsaPss2048Sha256, &signature::RSA_PSS_2048_8192_SHA256, "1.2.840.113549.1.1.10"),
        (Algorithm::Ed25519, &signature::ED25519, "1.3.101.112"),
    ];
    for (place, (algorithm, verification, oid)) in algorithms.into_iter().enumerate() {
        let key = create(&operator, new_key(RING, &format!("csr-{place}"), algorithm)).await;
        let names = [
            Name::Dns("shop.example".to_owned()),
            Name::Ip("192.0.2.1".to_owned()),
            Name::Ip("2001:db8::1".to_owned()),
            Name::Uri("spiffe://example.org/shop".to_owned()),
            Name::Email("a@example.org".to_owned()),
        ];
        let answer = csr(&caller, &key.name, "CN=shop,O=Example", &names).await.unwrap().into_inner();
        assert_eq!(answer.name, key.primary_version);
        assert!(answer.pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"), "{}", answer.pem);
        let request = checked(&answer.der, verification);
        assert_eq!(request.algorithm.oid.to_string(), oid);
        assert_eq!(request.info.subject.to_string(), "CN=shop,O=Example");
        assert_eq!(request.info.public_key.to_der().unwrap(), public_key(&caller, &key.primary_version).await);
        // subjectAltName, and in it each name in its kind.
        let written = answer.der.as_slice();
        for part in [b"shop.example".as_slice(), &[192, 0, 2, 1], b"spiffe://example.org/shop", b"a@example.org"] {
            assert!(written.windows(part.len()).any(|window| window == part), "{part:?}");
        }
    }
}

#[tokio::test]
async fn a_request_is_recorded_counted_and_decided_by_policy_as_a_signature() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = v1::Key {
        algorithm: Algorithm::EcdsaP256Sha256.into(),
        labels: [("domain".to_owned(), "ours".to_owned())].into(),
        max_signatures: 2,
        ..v1::Key::default()
    };
    let request = v1::CreateKeyRequest { key: Some(key), ..new_key(RING, "ours", Algorithm::EcdsaP256Sha256) };
    let key = create(&operator, request).await.name;
    let ours = [Name::Dns("shop.example".to_owned())];
    let made = csr(&caller, &key, "CN=shop", &ours).await.unwrap().into_inner();
    let theirs = [Name::Dns("bank.example".to_owned())];
    for (subject, names) in [("CN=shop", theirs.as_slice()), ("CN=root", ours.as_slice())] {
        assert_refused(csr(&caller, &key, subject, names).await, Code::PermissionDenied, "ACCESS_DENIED");
    }
    // No administrator signs, and who only verifies does not.
    let verifier = chancery.connect_as("verifier").await.unwrap();
    for nobody in [&operator, &verifier] {
        assert_refused(csr(nobody, &key, "CN=shop", &ours).await, Code::PermissionDenied, "ACCESS_DENIED");
    }
    let action = "CreateCertificateSigningRequest".to_owned();
    let request = v1::ListRecordsRequest { resource: key.clone(), action, ..v1::ListRecordsRequest::default() };
    let intents: Vec<_> =
        records(&operator, request).await.into_iter().filter(|one| one.kind() == v1::RecordKind::Intent).collect();
    let [intent] = intents.as_slice() else { panic!("{intents:?}") };
    assert_eq!((intent.index, intent.caller.as_str()), (made.record_index, "callers/caller"));
    csr(&caller, &key, "CN=shop", &ours).await.unwrap();
    assert_refused(csr(&caller, &key, "CN=shop", &ours).await, Code::ResourceExhausted, "KEY_USAGE_LIMIT");
}

#[tokio::test]
async fn what_is_no_name_is_refused_with_its_field() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "misnamed", Algorithm::EcdsaP256Sha256)).await.name;
    for subject in ["", "shop", "=x", &"CN=a,".repeat(300)] {
        assert_field(csr(&caller, &key, subject, &[]).await, "subject");
    }
    for name in [
        Name::Dns("a b".to_owned()),
        Name::Dns("*".to_owned()),
        Name::Uri("shop".to_owned()),
        Name::Email("a".to_owned()),
    ] {
        assert_field(csr(&caller, &key, "CN=a", &[name]).await, "subject_alternative_names");
    }
    let address = Name::Ip("192.0.2".to_owned());
    assert_field(csr(&caller, &key, "CN=a", &[address]).await, "subject_alternative_names[0].ip");
    let many = vec![Name::Dns("a".to_owned()); 101];
    assert_field(csr(&caller, &key, "CN=a", &many).await, "subject_alternative_names");
    let mac = create(&operator, new_key(RING, "no-pair", Algorithm::HmacSha256)).await.name;
    assert_refused(csr(&caller, &mac, "CN=a", &[]).await, Code::FailedPrecondition, "KEY_PURPOSE_MISMATCH");
    let ethereum = create(&operator, new_key(RING, "keccak", Algorithm::EcdsaSecp256k1Keccak256)).await.name;
    assert_refused(csr(&caller, &ethereum, "CN=a", &[]).await, Code::FailedPrecondition, "ALGORITHM_NOT_IN_X509");
}

#[tokio::test]
async fn a_version_that_is_not_in_use_yet_asks_for_its_certificate_and_signs_nothing_else() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let rules = v1::Key { rotation_period: seconds(3600), publish_ahead: seconds(3599), ..v1::Key::default() };
    let key = v1::Key { algorithm: Algorithm::Ed25519.into(), ..rules };
    let request = v1::CreateKeyRequest { key: Some(key), ..new_key(RING, "ahead", Algorithm::Ed25519) };
    let next = format!("{}/versions/2", create(&operator, request).await.name);
    eventually("the next version", async || {
        let version = operator.keys().get_key_version(v1::GetKeyVersionRequest { name: next.clone() }).await.ok()?;
        (version.into_inner().state() == KeyState::PreActive).then_some(())
    })
    .await;
    let made = csr(&caller, &next, "CN=next", &[]).await.unwrap().into_inner();
    let request = checked(&made.der, &signature::ED25519);
    // Its only signature so far: one that fits, of a key that is not in use.
    let verify = v1::VerifyRequest {
        name: next.clone(),
        input: message(&request.info.to_der().unwrap()),
        signature: request.signature.as_bytes().unwrap().to_vec(),
        ..v1::VerifyRequest::default()
    };
    let verdict = caller.signing().verify(verify).await.unwrap().into_inner();
    assert_eq!((verdict.verdict(), verdict.valid), (Verdict::KeyNotYetActive, false));
    let own = Ca::new("root").issue(&public_key(&caller, &next).await);
    set(&operator, &next, &[&own]).await.unwrap();
}

/// A CA of a test.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

/// A public key of P-256 or Ed25519 that is in a token.
struct InToken {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl InToken {
    fn of(spki: &[u8]) -> Self {
        // The key is the end of the SPKI: a point of 65 bytes, or 32 bytes.
        let (length, algorithm) =
            if spki.len() == 91 { (65, &rcgen::PKCS_ECDSA_P256_SHA256) } else { (32, &rcgen::PKCS_ED25519) };
        Self { bytes: spki[spki.len() - length..].to_vec(), algorithm }
    }
}

impl PublicKeyData for InToken {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

fn params(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

impl Ca {
    fn new(name: &str) -> Self {
        let (params, key) = (params(name, true), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    /// A CA under this one.
    fn below(&self, name: &str, ca: bool) -> Self {
        let (params, key) = (params(name, ca), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        Self { params, key, der }
    }

    /// A certificate of a public key.
    fn issue(&self, spki: &[u8]) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params("shop", false).signed_by(&InToken::of(spki), &issuer).unwrap().der().to_vec()
    }
}

#[tokio::test]
async fn a_chain_is_kept_where_it_is_one_and_of_this_key() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let version = create(&operator, new_key(RING, "certified", Algorithm::EcdsaP256Sha256)).await.primary_version;
    let other = create(&operator, new_key(RING, "other", Algorithm::EcdsaP256Sha256)).await.primary_version;
    let (spki, others) = (public_key(&caller, &version).await, public_key(&caller, &other).await);
    let root = Ca::new("root");
    let intermediate = root.below("intermediate", true);
    let own = intermediate.issue(&spki);
    assert_eq!(
        Certificate::from_der(&own).unwrap().tbs_certificate().subject_public_key_info().to_der().unwrap(),
        spki,
        "rcgen has certified the key that it was to"
    );

    for chain in [&[&*own, &*intermediate.der, &*root.der][..], &[&own, &intermediate.der], &[&own]] {
        let kept = set(&operator, &version, chain).await.unwrap().into_inner();
        assert_eq!(kept.certificate_chain, chain.iter().map(|der| der.to_vec()).collect::<Vec<_>>());
        assert_eq!(get_version(&operator, &version).await, kept);
    }
    let before = get_version(&operator, &version).await;
    let impostor = Ca::new("root");
    let no_ca = root.below("no CA", false);
    let mut forged = own.clone();
    *forged.last_mut().unwrap() ^= 1;
    let refusals: [(&[&[u8]], &str); 9] = [
        (&[&root.der], "not of this version's public key"),
        (&[&intermediate.issue(&others), &intermediate.der], "not of this version's public key"),
        (&[&intermediate.der, &own], "not of this version's public key"),
        (&[&own, &root.der], "not issued by the subject of the next one"),
        (&[&own, &root.der, &intermediate.der], "not issued by the subject of the next one"),
        (&[&own, &intermediate.der, &impostor.der], "not by the key of the next one"),
        (&[&no_ca.issue(&spki), &no_ca.der, &root.der], "it is no CA's"),
        (&[&forged, &intermediate.der], "not by the key of the next one"),
        (&[&own[..own.len() - 1]], "no X.509 certificate"),
    ];
    for (chain, why) in refusals {
        let said = assert_field(set(&operator, &version, chain).await, "certificate_chain");
        assert!(said.contains(why), "{said}");
    }
    assert_field(set(&operator, &version, &[&*own; 11]).await, "certificate_chain");
    assert_eq!(get_version(&operator, &version).await, before, "what is refused changes nothing");
    // Who signs with a key does not decide what is shown with it.
    assert_refused(set(&caller, &version, &[&own]).await, Code::PermissionDenied, "ACCESS_DENIED");
    let bare = set(&operator, &version, &[]).await.unwrap().into_inner();
    assert!(bare.certificate_chain.is_empty());
}

#[tokio::test]
async fn requests_and_chains_in_each_state_are_what_the_page_says() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let root = Ca::new("root");
    for (state, may_ask, may_set) in [
        (KeyState::Active, true, true),
        (KeyState::Suspended, false, true),
        (KeyState::Deactivated, false, true),
        (KeyState::Compromised, false, false),
        (KeyState::DestroyScheduled, false, false),
    ] {
        let id = format!("in-{}", state as i32);
        let version = create(&operator, new_key(RING, &id, Algorithm::Ed25519)).await.primary_version;
        let own = root.issue(&public_key(&caller, &version).await);
        match state {
            KeyState::Suspended => drop(suspend(&operator, &version).await.unwrap()),
            KeyState::Deactivated => drop(deactivate(&operator, &version).await.unwrap()),
            KeyState::Compromised => drop(compromise(&operator, &version).await.unwrap()),
            KeyState::DestroyScheduled => drop(schedule(&operator, &version, None).await.unwrap()),
            _ => {}
        }
        let (asked, kept) = (csr(&caller, &version, "CN=a", &[]).await, set(&operator, &version, &[&own]).await);
        assert_eq!((asked.is_ok(), kept.is_ok()), (may_ask, may_set), "{state:?}");
        for refused in [asked.err(), kept.err()].into_iter().flatten() {
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        }
    }
}

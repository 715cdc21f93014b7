//! Keys that others have put into the token come under management: found, judged, proved, and marked where a copy of them may be
//! elsewhere.
//!
//! The keys are made, and imported, by a process of its own, with nothing but PKCS#11, before the service takes the token.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::process::Command;

use chancery_api::v1::{self, Algorithm, KeyOrigin, KeyState};
use chancery_client::{Client, Refusal};
use chancery_fail_point::FAIL_POINT_VARIABLE;
use chancery_testkit::{CallerSetup, Chancery};
use chancery_tests::contract::{assert_field, assert_refused, create, message, new_key, refused, sign, uuid};
use chancery_tests::life_cycle::{get_key, get_version, schedule};
use chancery_tests::load::{Record, details, until};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, CertificateType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use tonic::{Code, Status};

const RING: &str = "keyRings/dev";
/// The ring that takes keys of which a copy may be elsewhere.
const LEGACY: &str = "keyRings/legacy";
const MESSAGE: &[u8] = b"made by an old key";

const P256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];

/// Not a test: makes the keys. The environment says where.
#[test]
#[ignore = "the entry point of a process that puts keys into a token"]
fn objects_entry() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let pkcs11 = Pkcs11::new(variable("ADOPT_MODULE")).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let label = variable("ADOPT_LABEL");
    let named = |slot: &cryptoki::slot::Slot| pkcs11.get_token_info(*slot).is_ok_and(|info| info.label() == label);
    let slot = pkcs11.get_slots_with_initialized_token().unwrap().into_iter().find(named).unwrap();
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&variable("ADOPT_PIN").into())).unwrap();
    let maker = Maker { session };

    maker.pair(P256, &[0xec, 1], &[0xec, 1], "good", &[]);
    maker.pair(P384, &[0xec, 0x38], &[0xec, 0x38], "p384", &[]);
    maker.rsa(&[0x11; 20], &[0x11; 20], "rsa");
    // The modulus is with the private key.
    maker.rsa(&[0x11, 2], &[0xff, 0x11], "rsa without public key");
    maker.secret(&[0x33], "mac");
    maker.secret(&[0x35], "chancery:system/state/7");
    maker.pair(P256, &[0xec, 12], &[0xec, 12], "chancery:dev/forgotten/3", &[]);
    maker.pair(P256, &[0xec, 2], &[0xec, 2], "extractable", &[Attribute::Extractable(true)]);
    maker.import_secret(&[0x34], "imported");
    maker.pair(P256, &[0xec, 4], &[0xff, 4], "no public key", &[]);
    maker.pair(P256, &[0xec, 5], &[0xff, 5], "twin", &[]);
    maker.pair(P256, &[0xec, 5], &[0xff, 5], "other twin", &[]);
    maker.pair(P256, &[0xec, 6], &[0xff, 6], "of another public key", &[]);
    maker.pair(P256, &[0xff, 7], &[0xec, 6], "of another private key", &[]);
    maker.pair(P256, &[0xec, 8], &[0xec, 8], "namesake", &[]);
    maker.pair(P256, &[0xec, 9], &[0xec, 9], "namesake", &[]);
    maker.pair(P256, &[0xec, 10], &[0xec, 10], "no signatures", &[Attribute::Sign(false), Attribute::Derive(true)]);
    maker.pair(P256, &[], &[], "no id", &[]);
    maker.pair(P256, &[0x77; 65], &[0x77; 65], "long id", &[]);
    let (public, _) = maker.pair(P256, &[0xec, 11], &[0xff, 11], "certified", &[]);
    maker.certify(public, &[0xec, 11]);
}

struct Maker {
    session: Session,
}

impl Maker {
    fn template(id: &[u8], label: &str) -> Vec<Attribute> {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        if !id.is_empty() {
            template.push(Attribute::Id(id.to_vec()));
        }
        template
    }

    /// What a later template says counts more.
    fn with(mut template: Vec<Attribute>, more: &[Attribute]) -> Vec<Attribute> {
        template.retain(|one| more.iter().all(|other| other.attribute_type() != one.attribute_type()));
        template.extend_from_slice(more);
        template
    }

    fn public(id: &[u8], more: Attribute) -> Vec<Attribute> {
        let mut template = vec![Attribute::Token(true), Attribute::Private(false), Attribute::Verify(true), more];
        if !id.is_empty() {
            template.push(Attribute::Id(id.to_vec()));
        }
        template
    }

    fn pair(
        &self,
        curve: &[u8],
        id: &[u8],
        public_id: &[u8],
        label: &str,
        more: &[Attribute],
    ) -> (ObjectHandle, ObjectHandle) {
        let public = Self::public(public_id, Attribute::EcParams(curve.to_vec()));
        let usual = [Attribute::Extractable(false), Attribute::Sign(true)];
        let private = Self::with(Self::with(Self::template(id, label), &usual), more);
        self.session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap()
    }

    fn rsa(&self, id: &[u8], public_id: &[u8], label: &str) {
        let mut public = Self::public(public_id, Attribute::ModulusBits(2048.into()));
        public.push(Attribute::PublicExponent(vec![1, 0, 1]));
        let usual = [Attribute::Extractable(false), Attribute::Sign(true)];
        let private = Self::with(Self::template(id, label), &usual);
        self.session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private).unwrap();
    }

    fn secret(&self, id: &[u8], label: &str) {
        let kind = [
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::ValueLen(32.into()),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Verify(true),
        ];
        let template = Self::with(Self::template(id, label), &kind);
        self.session.generate_key(&Mechanism::GenericSecretKeyGen, &template).unwrap();
    }

    fn import_secret(&self, id: &[u8], label: &str) {
        let kind = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Value(vec![7; 32]),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Verify(true),
        ];
        self.session.create_object(&Self::with(Self::template(id, label), &kind)).unwrap();
    }

    fn certify(&self, public: ObjectHandle, id: &[u8]) {
        let read = self.session.get_attributes(public, &[AttributeType::EcPoint]).unwrap();
        let Some(Attribute::EcPoint(point)) = read.into_iter().next() else { panic!("no point") };
        // SoftHSM wraps it in an OCTET STRING: two bytes before the point.
        let subject = InToken(point[2..].to_vec());
        let ca = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let issuer = Issuer::from_params(&params, &ca);
        let der = params.signed_by(&subject, &issuer).unwrap().der().to_vec();
        let template = [
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Id(id.to_vec()),
            Attribute::Subject(vec![0x30, 0]),
            Attribute::Value(der),
        ];
        self.session.create_object(&template).unwrap();
    }
}

/// The public key of a P-256 pair.
struct InToken(Vec<u8>);

impl PublicKeyData for InToken {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A service on a token in which there are keys already; `keeper` administers both rings and `till` signs in them.
async fn chancery() -> Chancery {
    let mut chancery = Chancery::setup()
        .ring("legacy", "dev")
        .configure(|config| {
            let rings = config["key_ring"].as_array_mut().unwrap();
            let legacy = rings.iter_mut().find(|ring| ring["id"].as_str() == Some("legacy")).unwrap();
            legacy.as_table_mut().unwrap().insert("allow_extractable".to_owned(), true.into());
        })
        .with(CallerSetup::new("keeper").role("key-administrator").ring("dev").ring("legacy"))
        .with(CallerSetup::new("till").role("signer").ring("dev").ring("legacy"))
        .policy(
            "copies.cedar",
            r#"@id("no-jwt-with-copies") forbid (principal, action == Chancery::Action::"SignJwt", resource) when { resource.extractable };"#,
        )
        .start()
        .await
        .unwrap();
    chancery.terminate().await.unwrap();
    put_keys(&chancery);
    chancery.restart().await.unwrap();
    chancery
}

fn put_keys(chancery: &Chancery) {
    let config: toml::Table = std::fs::read_to_string(chancery.config()).unwrap().parse().unwrap();
    let token = &config["token"][0];
    let text = |name: &str| token[name].as_str().unwrap().to_owned();
    let pin = std::fs::read_to_string(chancery.dir().join(text("pin_file"))).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "objects_entry", "--ignored"]);
    command.env("ADOPT_MODULE", chancery.dir().join(text("module")));
    command.env("ADOPT_LABEL", text("label")).env("ADOPT_PIN", pin.trim_end());
    for (name, value) in token["environment"].as_table().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

fn request(ring: &str, key: &str, algorithm: Algorithm, id: &[u8]) -> v1::AdoptKeyRequest {
    let v1::CreateKeyRequest { parent, key_id, key, request_id } = new_key(ring, key, algorithm);
    let (token_object_id, token_object_label) = (id.to_vec(), String::new());
    v1::AdoptKeyRequest { parent, key_id, key, token_object_id, token_object_label, request_id }
}

async fn adopt(client: &Client, request: v1::AdoptKeyRequest) -> Result<v1::Key, Status> {
    client.keys().adopt_key(request).await.map(tonic::Response::into_inner)
}

async fn signs_and_verifies(till: &Client, key: &str) {
    let signed = till.signing().sign(sign(key, MESSAGE)).await.unwrap().into_inner();
    let verify = v1::VerifyRequest {
        name: signed.name,
        input: message(MESSAGE),
        signature: signed.signature.to_vec(),
        ..v1::VerifyRequest::default()
    };
    assert_eq!(till.signing().verify(verify).await.unwrap().into_inner().verdict(), v1::Verdict::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_left_the_token_is_adopted_used_rotated_and_destroyed_like_any_other() {
    let mut chancery = chancery().await;
    let (keeper, till) = (chancery.connect_as("keeper").await.unwrap(), chancery.connect_as("till").await.unwrap());
    let cases: [(&str, Algorithm, &[u8], &str); 4] = [
        ("good", Algorithm::EcdsaP256Sha256, &[0xec, 1], "its own public key object"),
        ("rsa", Algorithm::RsaPss2048Sha256, &[0x11; 20], "an id of 20 bytes, as of a certificate's key"),
        ("modulus", Algorithm::RsaPkcs12048Sha256, &[0x11, 2], "the private key shows the public one"),
        ("certified", Algorithm::EcdsaP256Sha256, &[0xec, 11], "the certificate has the public key"),
    ];
    for (id, algorithm, object, why) in cases {
        let key = adopt(&keeper, request(RING, id, algorithm, object)).await;
        let key = key.unwrap_or_else(|status| panic!("{why}: {}", Refusal::from(status)));
        let version = get_version(&keeper, &key.primary_version).await;
        assert_eq!((version.state(), version.token_object_id.as_slice()), (KeyState::Active, object), "{why}");
        assert_eq!((version.origin(), version.extractable), (KeyOrigin::Adopted, false), "{why}");
        assert!(version.generate_time.is_some() && version.activate_time.is_some());
        signs_and_verifies(&till, &key.name).await;
    }
    let mac_key = adopt(&keeper, request(RING, "mac", Algorithm::HmacSha256, &[0x33])).await.unwrap().name;
    let mac = v1::MacSignRequest { name: mac_key.clone(), message: MESSAGE.into(), ..Default::default() };
    till.signing().mac_sign(mac).await.unwrap();
    // By its label alone, and with both.
    let by_label = v1::AdoptKeyRequest {
        token_object_label: "p384".to_owned(),
        ..request(RING, "label", Algorithm::EcdsaP384Sha384, &[])
    };
    adopt(&keeper, by_label).await.unwrap();
    let by_both = v1::AdoptKeyRequest {
        token_object_label: "namesake".to_owned(),
        ..request(RING, "both", Algorithm::EcdsaP256Sha256, &[0xec, 8])
    };
    adopt(&keeper, by_both).await.unwrap();

    // The act is recorded before the key's first use, names the key, and has its end.
    let good = format!("{RING}/keys/good");
    let record = Record::read_settled(&chancery.operator().await.unwrap()).await;
    let acts: Vec<_> = record.acts("AdoptKey", &format!("{good}/versions/1")).collect();
    assert_eq!(acts.len(), 1);
    let said = details(acts[0])["message"].as_str().unwrap().to_owned();
    assert!(said.contains("CKA_ID ec01") && said.contains("\"good\"") && said.contains("made in the token"), "{said}");
    assert_eq!(record.end(acts[0].index).unwrap().result, "DONE");

    // It is found again after a restart, rotated, and its objects go when it is destroyed.
    chancery.restart().await.unwrap();
    let (keeper, till) = (chancery.connect_as("keeper").await.unwrap(), chancery.connect_as("till").await.unwrap());
    signs_and_verifies(&till, &good).await;
    let rotate = v1::RotateKeyRequest { name: good.clone(), ..v1::RotateKeyRequest::default() };
    let second = keeper.keys().rotate_key(rotate).await.unwrap().into_inner();
    assert_eq!((second.origin(), second.token_object_id.len()), (KeyOrigin::Generated, 16));
    signs_and_verifies(&till, &good).await;
    let first = format!("{good}/versions/1");
    schedule(&keeper, &first, Some(std::time::Duration::ZERO)).await.unwrap();
    until("the adopted version is destroyed", async || {
        (get_version(&keeper, &first).await.state() == KeyState::Destroyed).then_some(())
    })
    .await;
    let gone = refused(adopt(&keeper, request(RING, "again", Algorithm::EcdsaP256Sha256, &[0xec, 1])).await);
    assert!(
        gone.reason.as_deref() == Some("TOKEN_OBJECT_TAKEN") || gone.message.contains("holds no such key"),
        "{gone}"
    );
    signs_and_verifies(&till, &good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_and_the_reason_is_said() {
    let chancery = chancery().await;
    let keeper = chancery.connect_as("keeper").await.unwrap();
    let p256 = Algorithm::EcdsaP256Sha256;
    let cases: [(Algorithm, &[u8], &str, &str); 13] = [
        (p256, &[0xaa], "", "holds no such key"),
        (p256, &[], "nobody's", "holds no such key"),
        (p256, &[0xec, 1], "another label", "holds no such key"),
        (p256, &[], "namesake", "2 keys of the token fit"),
        (p256, &[], "twin", "2 private or secret keys"),
        (p256, &[0xec, 4], "", "the public key is not in the token"),
        (p256, &[0xec, 6], "", "did not make a signature"),
        (p256, &[0xec, 10], "", "does not let the key sign"),
        (p256, &[], "no id", "no CKA_ID"),
        (p256, &[], "long id", "65 bytes"),
        (Algorithm::EcdsaP384Sha384, &[0xec, 1], "", "its curve is P256"),
        (Algorithm::RsaPss2048Sha256, &[0xec, 1], "", "its type is"),
        (Algorithm::RsaPss4096Sha256, &[0x11; 20], "", "the RSA modulus has 2048 bits"),
    ];
    for (algorithm, id, label, why) in cases {
        let request =
            v1::AdoptKeyRequest { token_object_label: label.to_owned(), ..request(LEGACY, "refused", algorithm, id) };
        let refusal = assert_refused(adopt(&keeper, request).await, Code::FailedPrecondition, "KEY_NOT_ADOPTABLE");
        assert!(refusal.message.contains(why), "{why:?} in {refusal}");
        assert!(!refusal.message.contains("CKR_"), "{refusal}");
    }
    // A MAC key of another length, and a private key where a secret is meant.
    for (algorithm, id) in [(Algorithm::HmacSha512, [0x33].as_slice()), (Algorithm::HmacSha256, &[0xec, 1])] {
        let refused = adopt(&keeper, request(LEGACY, "refused", algorithm, id)).await;
        assert_refused(refused, Code::FailedPrecondition, "KEY_NOT_ADOPTABLE");
    }
    assert_field(adopt(&keeper, request(RING, "none", p256, &[])).await, "token_object_id");
    assert_field(adopt(&keeper, request(RING, "none", p256, &[1; 65])).await, "token_object_id");
    // Nothing of it is left, and the name is free.
    let named = v1::GetKeyRequest { name: format!("{LEGACY}/keys/refused") };
    assert_refused(keeper.keys().get_key(named).await, Code::PermissionDenied, "ACCESS_DENIED");
    // Who may not adopt learns nothing of what is in the token.
    let till = chancery.connect_as("till").await.unwrap();
    for id in [[0xec, 1], [0xaa, 1]] {
        let denied = adopt(&till, request(RING, "mine", p256, &id)).await;
        assert_refused(denied, Code::PermissionDenied, "ACCESS_DENIED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_copied_needs_a_ring_that_takes_it_and_stays_marked() {
    let chancery = chancery().await;
    let (keeper, till) = (chancery.connect_as("keeper").await.unwrap(), chancery.connect_as("till").await.unwrap());
    let (p256, hmac) = (Algorithm::EcdsaP256Sha256, Algorithm::HmacSha256);
    for (algorithm, id) in [(p256, [0xec, 2].as_slice()), (hmac, &[0x34])] {
        let refused = adopt(&keeper, request(RING, "copied", algorithm, id)).await;
        assert_refused(refused, Code::FailedPrecondition, "KEY_EXTRACTABLE");
    }
    let extractable = adopt(&keeper, request(LEGACY, "extractable", p256, &[0xec, 2])).await.unwrap();
    let version = get_version(&keeper, &extractable.primary_version).await;
    assert_eq!((version.origin(), version.extractable), (KeyOrigin::Adopted, true));
    let imported = adopt(&keeper, request(LEGACY, "imported", hmac, &[0x34])).await.unwrap();
    let version = get_version(&keeper, &imported.primary_version).await;
    assert_eq!((version.origin(), version.extractable), (KeyOrigin::Imported, true));
    let shown =
        keeper.keys().get_key_ring(v1::GetKeyRingRequest { name: LEGACY.to_owned() }).await.unwrap().into_inner();
    assert!(shown.allow_extractable);

    // For people, for policy, and in the record.
    let said = chancery_tests::program::succeed(chancery.cli().args([
        "keys",
        "show",
        "legacy/extractable",
        "--as",
        "operator",
    ]));
    assert!(said.contains("ADOPTED (extractable)"), "{said}");
    let jwt = |key: &str| v1::SignJwtRequest { name: key.to_owned(), claims: "{}".to_owned(), ..Default::default() };
    let denied = till.signing().sign_jwt(jwt(&extractable.name)).await;
    assert_refused(denied, Code::PermissionDenied, "ACCESS_DENIED");
    signs_and_verifies(&till, &extractable.name).await;
    let operator = chancery.operator().await.unwrap();
    let record = Record::read_settled(&operator).await;
    let act = record.acts("AdoptKey", &extractable.primary_version).next().unwrap();
    assert!(details(act)["message"].as_str().unwrap().contains("a copy of it may be outside the token"));
    let intent = record.intents().find(|intent| intent.resource == extractable.primary_version).unwrap();
    assert_eq!(details(intent)["attributes"]["resource"]["extractable"], true);
    let ordinary = create(&keeper, new_key(LEGACY, "ordinary", p256)).await;
    till.signing().sign_jwt(jwt(&ordinary.name)).await.unwrap();

    // A new version does not take the mark from the key while the old one is there.
    let rotate = v1::RotateKeyRequest { name: extractable.name.clone(), ..v1::RotateKeyRequest::default() };
    keeper.keys().rotate_key(rotate).await.unwrap();
    assert_refused(till.signing().sign_jwt(jwt(&extractable.name)).await, Code::PermissionDenied, "ACCESS_DENIED");
    schedule(&keeper, &extractable.primary_version, Some(std::time::Duration::ZERO)).await.unwrap();
    until("the copied version is destroyed", async || {
        let version = get_version(&keeper, &extractable.primary_version).await;
        assert!(version.extractable, "the version stays marked for good");
        (version.state() == KeyState::Destroyed).then_some(())
    })
    .await;
    till.signing().sign_jwt(jwt(&extractable.name)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_adopted_once() {
    let chancery = chancery().await;
    let keeper = chancery.connect_as("keeper").await.unwrap();
    let p256 = Algorithm::EcdsaP256Sha256;
    let first = v1::AdoptKeyRequest { request_id: uuid(), ..request(RING, "good", p256, &[0xec, 1]) };
    let key = adopt(&keeper, first.clone()).await.unwrap();
    assert_eq!(adopt(&keeper, first.clone()).await.unwrap(), key, "a retry is answered with what was made");
    for other in [
        v1::AdoptKeyRequest { token_object_id: vec![0xec, 8], ..first.clone() },
        v1::AdoptKeyRequest { key_id: "other".to_owned(), ..first.clone() },
        v1::AdoptKeyRequest { token_object_label: "namesake".to_owned(), ..first.clone() },
        v1::AdoptKeyRequest {
            token_object_id: Vec::new(),
            token_object_label: "certified".to_owned(),
            ..first.clone()
        },
    ] {
        assert_refused(adopt(&keeper, other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    }
    let by_label =
        v1::AdoptKeyRequest { token_object_id: Vec::new(), token_object_label: "good".to_owned(), ..first.clone() };
    assert_eq!(adopt(&keeper, by_label).await.unwrap(), key, "the same object");
    let creation = v1::CreateKeyRequest { request_id: first.request_id.clone(), ..new_key(RING, "good", p256) };
    assert_refused(keeper.keys().create_key(creation).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    // In the same ring and in another one on the same token.
    for ring in [RING, LEGACY] {
        let refused = adopt(&keeper, request(ring, "second", p256, &[0xec, 1])).await;
        assert_refused(refused, Code::AlreadyExists, "TOKEN_OBJECT_TAKEN");
    }
    let taken = adopt(&keeper, request(RING, "good", p256, &[0xec, 8])).await;
    assert_refused(taken, Code::AlreadyExists, "KEY_ALREADY_EXISTS");
    // Nor one of our own.
    let own = create(&keeper, new_key(RING, "own", p256)).await;
    let id = get_version(&keeper, &own.primary_version).await.token_object_id;
    let refused = adopt(&keeper, request(LEGACY, "own", p256, &id)).await;
    assert_refused(refused, Code::AlreadyExists, "TOKEN_OBJECT_TAKEN");
    // Nor what the service would take for its own, though no row names it: who could use that could seal a state.
    let refused = adopt(&keeper, request(LEGACY, "seal", Algorithm::HmacSha256, &[0x35])).await;
    assert_refused(refused, Code::AlreadyExists, "TOKEN_OBJECT_TAKEN");
    // Nor one that was made for another ring, of which a restored database knows nothing. That ring may have it back.
    let forgotten = |ring| request(ring, "forgotten", p256, &[0xec, 12]);
    assert_refused(adopt(&keeper, forgotten(LEGACY)).await, Code::AlreadyExists, "TOKEN_OBJECT_TAKEN");
    adopt(&keeper, forgotten(RING)).await.unwrap();
    // Of two at once one wins.
    let race = request(RING, "raced", p256, &[0xec, 8]);
    let other = v1::AdoptKeyRequest { key_id: "raced-too".to_owned(), ..race.clone() };
    let (one, two) = tokio::join!(adopt(&keeper, race), adopt(&keeper, other));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_refused(if one.is_err() { one } else { two }, Code::AlreadyExists, "TOKEN_OBJECT_TAKEN");
}

/// The service dies after the act is recorded and before the key has proved itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_leaves_nothing_half_done() {
    let mut chancery = chancery().await;
    chancery.set_environment(FAIL_POINT_VARIABLE, Some("key-reserved:1"));
    chancery.restart().await.unwrap();
    let keeper = chancery.connect_as("keeper").await.unwrap();
    let wanted = || request(RING, "good", Algorithm::EcdsaP256Sha256, &[0xec, 1]);
    assert!(adopt(&keeper, wanted()).await.is_err());
    until("the service has died", async || chancery.ended().unwrap()).await;
    chancery.set_environment(FAIL_POINT_VARIABLE, None);
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    let keeper = chancery.connect_as("keeper").await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let version = format!("{RING}/keys/good/versions/1");
    let record = Record::read_until(&operator, "the act has an end", |record| {
        record.acts("AdoptKey", &version).next().is_some_and(|act| record.end(act.index).is_some())
    })
    .await;
    let act = record.acts("AdoptKey", &version).next().unwrap();
    assert_eq!(record.end(act.index).unwrap().result, "UNKNOWN", "whether the key was used is not known");
    let named = v1::GetKeyRequest { name: format!("{RING}/keys/good") };
    assert_refused(keeper.keys().get_key(named).await, Code::PermissionDenied, "ACCESS_DENIED");
    // The key in the token is as it was.
    let key = adopt(&keeper, wanted()).await.unwrap();
    signs_and_verifies(&chancery.connect_as("till").await.unwrap(), &key.name).await;
    assert_eq!(get_key(&keeper, &key.name).await.primary_version, version);
}

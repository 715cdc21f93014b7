//! What is signed, checked with the key of the certificate. That the service takes it is tested in
//! `tests/caller_evidence.rs`.

use super::*;
use zeroize::Zeroizing;

/// A certificate of P-256 and its key.
fn identity() -> PemIdentity {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let private_key = Zeroizing::new(key.serialize_pem().into_bytes());
    PemIdentity { certificate: certificate.pem().into_bytes(), private_key }
}

fn request() -> v1::SignRequest {
    let input = v1::sign_input::Input::Message("m".into());
    v1::SignRequest {
        name: "keyRings/r/keys/k/versions/3".to_owned(),
        input: Some(v1::SignInput { input: Some(input), crc32c: None }),
        ..v1::SignRequest::default()
    }
}

#[test]
fn a_request_is_signed_by_its_key_s_hash_and_never_twice_the_same() {
    let identity = identity();
    let (signer, evidence) = (RequestSigner::of(&identity).unwrap(), Evidence::new("here".to_owned()));
    let mut asked = request();
    assert!(asked.vouch(&signer, &evidence).is_err(), "the key's hash is not known yet");
    evidence.learn("keyRings/r/keys/k", HashAlgorithm::Sha384);
    asked.vouch(&signer, &evidence).unwrap();
    let first = asked.caller_signature.clone().unwrap();
    asked.vouch(&signer, &evidence).unwrap();
    assert_ne!(first.nonce, asked.caller_signature.unwrap().nonce);

    let certificate = CertificateDer::from_pem_slice(&identity.certificate).unwrap();
    let key = CallerKey::of_certificate(&certificate).unwrap();
    let created = first.create_time.unwrap();
    let digest = hash(HashAlgorithm::Sha384, b"m");
    let statement = CallerStatement {
        audience: "here",
        created: Timestamp::from_unix_micros(created.seconds * 1_000_000 + i64::from(created.nanos / 1000)),
        nonce: first.nonce.as_slice().try_into().unwrap(),
        name: "keyRings/r/keys/k/versions/3",
        request: CallerRequest::Sign { as_digest: false, digest: &digest, encoding: EcdsaEncoding::Der },
    };
    key.verify(&statement, &first.signature).unwrap();
    assert!(key.verify(&CallerStatement { audience: "there", ..statement }, &first.signature).is_err());
}

#[test]
fn a_digest_of_another_length_is_not_signed() {
    let (signer, evidence) = (RequestSigner::of(&identity()).unwrap(), Evidence::new("here".to_owned()));
    evidence.learn("keyRings/r/keys/k", HashAlgorithm::Sha384);
    let input = v1::sign_input::Input::Digest(vec![0; 32].into());
    let mut asked = v1::SignRequest { input: Some(v1::SignInput { input: Some(input), crc32c: None }), ..request() };
    assert!(asked.vouch(&signer, &evidence).is_err());
}

#[test]
fn what_is_no_key_is_said() {
    let broken = PemIdentity { private_key: Zeroizing::new(b"nothing".to_vec()), ..identity() };
    assert!(RequestSigner::of(&broken).is_err());
    let shown = format!("{:?}", RequestSigner::of(&identity()).unwrap());
    assert!(!shown.contains("PRIVATE") && shown.contains("ECDSA_NISTP256_SHA256"), "{shown}");
}

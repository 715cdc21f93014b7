//! Signatures that are checked on this side, and the `signature` crate's signer.

use chancery_model::EcdsaEncoding;
use k256::Secp256k1;
use k256::ecdsa::signature::Verifier as _;
use signature::{AsyncSigner, Keypair as _, SignatureEncoding as _};
use spki::{DynSignatureAlgorithmIdentifier as _, EncodePublicKey as _, SignatureBitStringEncoding as _};
use std::error::Error as _;

use super::service::{Faults, VERSION};
use crate::{ClientError, KeyRef, LocalVerification, RetryPolicy, SignItem, Signature};

const MESSAGE: &[u8] = b"pay 5 to Ada";

#[tokio::test]
async fn a_wrong_signature_is_handed_out_to_nobody_who_verifies() {
    let faults = Faults::new([]);
    let plain = faults.client(RetryPolicy::off());
    let key: KeyRef = VERSION.parse().unwrap();
    let pinned = plain.verify_locally(LocalVerification::pinned([faults.public_key()]));
    let learning = plain.verify_locally(LocalVerification::on_first_use());
    for client in [&pinned, &learning] {
        for encoding in [EcdsaEncoding::Der, EcdsaEncoding::P1363] {
            client.sign(&key, MESSAGE, encoding).await.unwrap();
        }
    }
    let fetched = faults.calls().iter().filter(|call| call.method == "GetPublicKey").count();
    assert_eq!(fetched, 1, "once, and only by the client that learns");

    faults.lie();
    assert!(plain.sign(&key, MESSAGE, EcdsaEncoding::Der).await.is_ok(), "off where not asked for");
    for client in [&pinned, &learning] {
        let wrong = client.sign(&key, MESSAGE, EcdsaEncoding::P1363).await.unwrap_err();
        assert!(matches!(wrong, ClientError::WrongSignature { .. }), "{wrong}");
        let batch = client.batch_sign([SignItem::new(&key, MESSAGE)]).await;
        assert!(matches!(batch[..], [Err(ClientError::WrongSignature { .. })]), "{batch:?}");
        let (sender, mut answers) = client.stream_sign().await.unwrap();
        sender.send("1", SignItem::new(&key, MESSAGE)).await.unwrap();
        let answer = answers.next().await.unwrap().unwrap();
        assert!(matches!(answer.result, Err(ClientError::WrongSignature { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_version_that_is_not_pinned_is_refused() {
    let faults = Faults::new([]);
    let (version, key) = faults.public_key();
    let other = version.key.version(2);
    let client = faults.client(RetryPolicy::off()).verify_locally(LocalVerification::pinned([(other, key)]));
    let refused = client.sign(VERSION, MESSAGE, EcdsaEncoding::Der).await.unwrap_err();
    assert!(matches!(&refused, ClientError::NotPinned { version } if version.to_string() == VERSION), "{refused}");
}

/// What a user's generic code looks like.
async fn generic<S>(signer: &impl AsyncSigner<S>) -> Result<S, signature::Error> {
    signer.sign_async(MESSAGE).await
}

#[tokio::test]
async fn a_signer_signs_for_generic_code_in_each_type() {
    let faults = Faults::new([]);
    let signer = faults.client(RetryPolicy::off()).signer("keyRings/dev/keys/k").await.unwrap();
    assert_eq!(signer.version().to_string(), VERSION);

    let ours: Signature = generic(&signer).await.unwrap();
    signer.verifying_key().verify(MESSAGE, &ours).unwrap();
    assert!(signer.verifying_key().verify(b"pay 6 to Ada", &ours).is_err());
    assert_eq!(Signature::try_from(ours.to_bytes().as_ref()).unwrap(), ours);
    assert_eq!(ours.to_bitstring().unwrap().raw_bytes(), ours.as_bytes());

    // Verified by k256, which is not what this crate verifies with in the other tests.
    let theirs = k256::ecdsa::VerifyingKey::from(&faults.signing_key());
    let fixed: ecdsa::Signature<Secp256k1> = generic(&signer).await.unwrap();
    theirs.verify(MESSAGE, &fixed).unwrap();
    let der: ecdsa::der::Signature<Secp256k1> = generic(&signer).await.unwrap();
    theirs.verify(MESSAGE, &der).unwrap();

    assert_eq!(signer.verifying_key().to_public_key_der().unwrap().as_bytes(), faults.spki());
    let algorithm = signer.signature_algorithm_identifier().unwrap();
    assert_eq!((algorithm.oid.to_string().as_str(), algorithm.parameters), ("1.2.840.10045.4.3.2", None));
}

#[tokio::test]
async fn a_signers_failure_keeps_its_cause() {
    let denied = super::service::Plan::Fail(tonic::Status::permission_denied("no"));
    let faults = Faults::new([super::service::Plan::Answer, denied]);
    let signer = faults.client(RetryPolicy::off()).signer(VERSION).await.unwrap();
    let error = generic::<Signature>(&signer).await.unwrap_err();
    let cause = error.source().unwrap().downcast_ref::<ClientError>().unwrap();
    assert_eq!(cause.code(), Some(tonic::Code::PermissionDenied));
}

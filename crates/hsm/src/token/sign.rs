//! The only way to a signature: hash, ask the token, verify, and ask once more where that is safe.

use super::Token;
use super::attempts::Answer;
use crate::wire::Operation;
use crate::{DeviceSignature, HsmErrorKind, HsmFailure, MAX_DEVICE_MESSAGE_BYTES, SignInput, SigningKey};
use chancery_crypto::{SignedInput, digest_info, hash, secp256k1_finish};
use chancery_fail_point::FailPoint;
use chancery_model::{Algorithm, Curve, Digest, EcdsaEncoding, KeyType, SignatureScheme};
use std::borrow::Cow;
use tokio::time::Instant;
use tracing::debug_span;

/// What goes to the device, and what its answer must verify against.
enum Prepared<'a> {
    Message(&'a [u8]),
    Digest(Cow<'a, Digest>),
}

impl Token {
    /// Signs, and verifies the signature in software under the pinned public key before anybody sees it.
    ///
    /// Asks the token a second time, at most, where the failure says that it may help and the deadline allows: after
    /// the death of the worker, on a fresh session after a dead one or after a wrong signature.
    ///
    /// # Errors
    /// [`HsmFailure`], with the PKCS#11 function and return code where there was one.
    pub async fn sign(
        &self,
        key: &SigningKey,
        input: SignInput<'_>,
        deadline: Instant,
    ) -> Result<DeviceSignature, HsmFailure> {
        self.sign_or(HsmErrorKind::WrongSignature, key, input, deadline).await
    }

    /// The same, where a signature that does not verify is a failure of this kind.
    pub(super) async fn sign_or(
        &self,
        wrong: HsmErrorKind,
        key: &SigningKey,
        input: SignInput<'_>,
        deadline: Instant,
    ) -> Result<DeviceSignature, HsmFailure> {
        let algorithm = key.public.algorithm();
        let prepared = prepare(algorithm, input)?;
        let device_input = device_input(algorithm, &prepared)?;
        let operation = Operation::Sign { algorithm, id: key.id, input: &device_input };
        let released =
            |answer| release(key, &prepared, answer).map_err(|failure| HsmFailure { kind: wrong, ..failure });
        self.ask(operation, deadline, released).await
    }
}

fn prepare<'a>(algorithm: Algorithm, input: SignInput<'a>) -> Result<Prepared<'a>, HsmFailure> {
    let refused = |message: String| Err(HsmFailure::new(HsmErrorKind::InputLength, message));
    match (input, algorithm.hash()) {
        (SignInput::Message(message), Some(algorithm)) => Ok(Prepared::Digest(Cow::Owned(hash(algorithm, message)))),
        (SignInput::Digest(digest), Some(expected)) if digest.algorithm() == expected => {
            Ok(Prepared::Digest(Cow::Borrowed(digest)))
        }
        (SignInput::Digest(digest), Some(expected)) => {
            refused(format!("{algorithm} signs {expected} digests, not {}", digest.algorithm()))
        }
        (SignInput::Digest(_), None) => refused(format!("{algorithm} signs messages, not digests")),
        (SignInput::Message(message), None) if message.len() <= MAX_DEVICE_MESSAGE_BYTES => {
            Ok(Prepared::Message(message))
        }
        (SignInput::Message(message), None) => refused(format!(
            "{algorithm} signs the message itself: at most {MAX_DEVICE_MESSAGE_BYTES} bytes, not {}",
            message.len()
        )),
    }
}

fn device_input<'a>(algorithm: Algorithm, prepared: &'a Prepared<'_>) -> Result<Cow<'a, [u8]>, HsmFailure> {
    Ok(match (prepared, algorithm.scheme()) {
        (Prepared::Message(message), _) => Cow::Borrowed(message),
        // CKM_RSA_PKCS pads and signs what it gets: naming the hash is ours to do.
        (Prepared::Digest(digest), SignatureScheme::RsaPkcs1) => Cow::Owned(digest_info(digest).ok_or_else(|| {
            HsmFailure::new(HsmErrorKind::Bug, format!("no DigestInfo names the hash of {algorithm}"))
        })?),
        (Prepared::Digest(digest), _) => Cow::Borrowed(digest.as_bytes()),
    })
}

/// Lets a signature out only if it verifies.
fn release(key: &SigningKey, prepared: &Prepared<'_>, answer: Answer) -> Result<DeviceSignature, HsmFailure> {
    FailPoint::TokenAnswered.pass();
    let Answer { bytes: signature, attempts, mut times } = answer;
    let _span = debug_span!("verify").entered();
    let begun = Instant::now();
    let algorithm = key.public.algorithm();
    let wrong = |error: &dyn std::fmt::Display| {
        let message = format!("the token's signature with key {} for {algorithm} is wrong: {error}", key.id);
        HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::WrongSignature, message) }
    };
    let (bytes, recovery_id) = match (algorithm.key_type(), prepared) {
        (KeyType::Ec(Curve::Secp256k1), Prepared::Digest(digest)) => {
            let finished = secp256k1_finish(&key.public, digest, &signature).map_err(|error| wrong(&error))?;
            (finished.fixed.to_vec(), Some(finished.recovery_id))
        }
        _ => (signature, None),
    };
    let signed = match prepared {
        Prepared::Message(message) => SignedInput::Message(message),
        Prepared::Digest(digest) => SignedInput::Digest(digest),
    };
    key.public.verify(signed, &bytes, EcdsaEncoding::P1363).map_err(|error| wrong(&error))?;
    times.verify += begun.elapsed();
    Ok(DeviceSignature { bytes, recovery_id, attempts, times })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::HashAlgorithm;

    #[test]
    fn inputs_that_do_not_fit_are_refused_before_anybody_is_asked() {
        let sha256 = hash(HashAlgorithm::Sha256, b"m");
        let long = vec![0; MAX_DEVICE_MESSAGE_BYTES + 1];
        for (algorithm, input) in [
            (Algorithm::EcdsaP384Sha384, SignInput::Digest(&sha256)),
            (Algorithm::Ed25519, SignInput::Digest(&sha256)),
            (Algorithm::Ed25519, SignInput::Message(&long)),
            (Algorithm::MlDsa65, SignInput::Digest(&sha256)),
            (Algorithm::MlDsa65, SignInput::Message(&long)),
            (Algorithm::EcdsaSecp256k1Keccak256, SignInput::Digest(&sha256)),
        ] {
            let Err(failure) = prepare(algorithm, input) else { panic!("{algorithm} took it") };
            assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0));
        }
        assert!(prepare(Algorithm::EcdsaP256Sha256, SignInput::Message(&long)).is_ok());
    }

    #[test]
    fn pkcs1_is_given_a_digest_info_and_the_others_the_digest() {
        for (algorithm, length) in [
            (Algorithm::RsaPkcs1_2048Sha256, 51),
            (Algorithm::RsaPkcs1_4096Sha512, 83),
            (Algorithm::RsaPss2048Sha256, 32),
            (Algorithm::EcdsaP521Sha512, 64),
            (Algorithm::EcdsaSecp256k1Keccak256, 32),
        ] {
            let prepared = prepare(algorithm, SignInput::Message(b"m")).ok().unwrap();
            assert_eq!(device_input(algorithm, &prepared).unwrap().len(), length, "{algorithm}");
        }
    }
}

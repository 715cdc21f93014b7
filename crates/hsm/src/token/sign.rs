//! The only way to a signature: hash, ask the token, verify, and ask once more where that is safe.

use super::Token;
use super::dispatch::{Call, CallFailure};
use super::progress::{Progress, Stage};
use crate::wire::LaneRequest;
use crate::{DeviceSignature, HsmErrorKind, HsmFailure, MAX_DEVICE_MESSAGE_BYTES, SignInput, SignTimes, SigningKey};
use chancery_crypto::{SignedInput, digest_info, hash, secp256k1_finish};
use chancery_model::{Algorithm, Curve, Digest, EcdsaEncoding, KeyType, SignatureScheme};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::debug_span;

/// The first attempt and one retry.
const MOST_ATTEMPTS: u8 = 2;

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
        let algorithm = key.public.algorithm();
        let prepared = prepare(algorithm, input)?;
        let device_input = device_input(algorithm, &prepared);
        let mut fresh_session = false;
        let mut attempts = 1;
        let mut may_have_signed = false;
        let mut times = SignTimes::default();
        loop {
            if Instant::now() >= deadline {
                // Nobody waits any more: a signature made now would be for nothing.
                return Err(overrun(attempts - 1).failure);
            }
            let request = LaneRequest { algorithm, fresh_session, uid: key.uid, input: &device_input };
            let failed = match self.ask(request.encode(), deadline, attempts > 1, &mut times).await {
                Ok(signature) => match release(key, &prepared, signature, attempts, &mut times) {
                    Ok(signature) => return Ok(signature),
                    Err(failure) => {
                        tracing::error!(token = %self.shared.settings.id, key = %key.uid, %failure, "the token lies about a signature");
                        fresh_session = true;
                        CallFailure { failure, retry: true, replace: None }
                    }
                },
                Err(failed) => failed,
            };
            let CallFailure { failure, retry, replace } = failed;
            if let Some(generation) = replace {
                self.shared.replace_on_request(generation, &failure.message);
            }
            if !retry || attempts == MOST_ATTEMPTS || Instant::now() >= deadline {
                let asked = if failure.attempts == 0 { attempts - 1 } else { attempts };
                return Err(overall(failure, may_have_signed).with_attempts(asked));
            }
            may_have_signed |= outcome_unknown(failure.kind);
            tracing::warn!(token = %self.shared.settings.id, key = %key.uid, %failure, "signing is tried once more");
            attempts += 1;
        }
    }

    async fn ask(
        &self,
        frame: Vec<u8>,
        deadline: Instant,
        again: bool,
        times: &mut SignTimes,
    ) -> Result<Vec<u8>, CallFailure> {
        let (reply, answer) = oneshot::channel();
        let progress = Arc::new(Progress::begin());
        let call = Call { frame, deadline, again, progress: Arc::clone(&progress), stage: Stage::queue(), reply };
        self.shared.dispatch.submit(call).map_err(CallFailure::last)?;
        let answer = timeout_at(deadline, answer).await;
        let (queue, device) = progress.times();
        times.queue += queue;
        times.device += device;
        match answer {
            Ok(Ok(end)) => end,
            // Dropped in the queue, where its time was over before a lane had room: the token was not asked.
            Ok(Err(_dropped)) => Err(overrun(0)),
            Err(_elapsed) if progress.was_sent() => {
                self.shared.suspect();
                Err(overrun(1))
            }
            // It still waits for a lane, and is passed over when its turn comes.
            Err(_elapsed) => Err(overrun(0)),
        }
    }
}

/// Whether the token may have signed although the attempt failed.
const fn outcome_unknown(kind: HsmErrorKind) -> bool {
    matches!(kind, HsmErrorKind::OutcomeUnknown | HsmErrorKind::WorkerLost | HsmErrorKind::Deadline)
}

/// The failure of the whole call: where an earlier attempt may have signed, a later refusal does not make that unhappen.
fn overall(last: HsmFailure, may_have_signed: bool) -> HsmFailure {
    if !may_have_signed || outcome_unknown(last.kind) {
        return last;
    }
    let message = format!("whether the first attempt signed is not known; the second: {}", last.message);
    HsmFailure { kind: HsmErrorKind::OutcomeUnknown, message, ..last }
}

fn overrun(attempts: u8) -> CallFailure {
    let message = "the token did not answer by the deadline";
    CallFailure::last(HsmFailure { attempts, ..HsmFailure::new(HsmErrorKind::Deadline, message) })
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

fn device_input<'a>(algorithm: Algorithm, prepared: &'a Prepared<'_>) -> Cow<'a, [u8]> {
    match (prepared, algorithm.scheme()) {
        (Prepared::Message(message), _) => Cow::Borrowed(message),
        // CKM_RSA_PKCS pads and signs what it gets: naming the hash is ours to do.
        (Prepared::Digest(digest), SignatureScheme::RsaPkcs1) => Cow::Owned(digest_info(digest)),
        (Prepared::Digest(digest), _) => Cow::Borrowed(digest.as_bytes()),
    }
}

/// Lets a signature out only if it verifies.
fn release(
    key: &SigningKey,
    prepared: &Prepared<'_>,
    signature: Vec<u8>,
    attempts: u8,
    times: &mut SignTimes,
) -> Result<DeviceSignature, HsmFailure> {
    let _span = debug_span!("verify").entered();
    let begun = Instant::now();
    let algorithm = key.public.algorithm();
    let wrong = |error: &dyn std::fmt::Display| {
        let message = format!("the token's signature with key {} for {algorithm} is wrong: {error}", key.uid);
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
    Ok(DeviceSignature { bytes, recovery_id, attempts, times: *times })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::HashAlgorithm;

    #[test]
    fn what_may_have_happened_stays_unknown_whatever_comes_after() {
        let refused = || HsmFailure::new(HsmErrorKind::TokenAbsent, "the token is gone");
        assert_eq!(overall(refused(), false).kind, HsmErrorKind::TokenAbsent);
        let unknown = overall(refused(), true);
        assert_eq!(unknown.kind, HsmErrorKind::OutcomeUnknown);
        assert!(unknown.message.contains("the token is gone"), "{}", unknown.message);
        let lost = HsmFailure::new(HsmErrorKind::WorkerLost, "lost");
        assert_eq!(overall(lost.clone(), true), lost);
    }

    #[test]
    fn inputs_that_do_not_fit_are_refused_before_anybody_is_asked() {
        let sha256 = hash(HashAlgorithm::Sha256, b"m");
        let long = vec![0; MAX_DEVICE_MESSAGE_BYTES + 1];
        for (algorithm, input) in [
            (Algorithm::EcdsaP384Sha384, SignInput::Digest(&sha256)),
            (Algorithm::Ed25519, SignInput::Digest(&sha256)),
            (Algorithm::Ed25519, SignInput::Message(&long)),
        ] {
            let Err(failure) = prepare(algorithm, input) else { panic!("{algorithm} took it") };
            assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0));
        }
        assert!(prepare(Algorithm::EcdsaP256Sha256, SignInput::Message(&long)).is_ok());
    }

    #[test]
    fn pkcs1_is_given_a_digest_info_and_the_others_the_digest() {
        for (algorithm, length) in
            [(Algorithm::RsaPkcs1_2048Sha256, 51), (Algorithm::RsaPss2048Sha256, 32), (Algorithm::EcdsaP521Sha512, 64)]
        {
            let prepared = prepare(algorithm, SignInput::Message(b"m")).ok().unwrap();
            assert_eq!(device_input(algorithm, &prepared).len(), length);
        }
    }
}

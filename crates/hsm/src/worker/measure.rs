//! How fast a token signs, or makes MACs, with nothing in between: threads of this process, each with a session, and
//! one key that ends with it.

use super::fault::Fault;
use super::mechanism;
use super::probe;
use super::serve;
use crate::HsmErrorKind;
use crate::wire::{Measure, Started, algorithm_at};
use chancery_model::{Algorithm, SignatureScheme};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Measures until the time is over.
pub(super) fn run(task: Measure) -> Result<Started, Fault> {
    let algorithm = algorithm_at(task.algorithm).map_err(|error| Fault::new(HsmErrorKind::Bug, error.to_string()))?;
    let mut opened = serve::open(task.token, false)?;
    let held = &opened.held;
    let owner = held.open_session()?;
    let edwards = probe::keys(&owner, &mut opened.facts)?;
    if let Some(missing) = opened.facts.missing(algorithm) {
        let message = format!("the token lacks {missing}, which {algorithm} needs");
        return Err(Fault::new(HsmErrorKind::Configuration, message));
    }
    let key = probe::make_session_key(&owner, algorithm.key_type(), edwards)?.signs;
    let threads = usize::try_from(task.threads).unwrap_or(1).max(1);
    let sessions = (0..threads).map(|_| held.open_session()).collect::<Result<Vec<_>, _>>()?;
    let duration = Duration::from_millis(task.milliseconds);
    let input = sample_input(algorithm)?;
    let start = Barrier::new(threads);
    let counts = std::thread::scope(|scope| {
        let running: Vec<_> = sessions
            .into_iter()
            .map(|session| {
                let (input, start) = (&input, &start);
                scope.spawn(move || -> Result<(u64, Duration), Fault> {
                    let mechanism = mechanism::signing(algorithm)?;
                    start.wait();
                    let began = Instant::now();
                    let mut signatures = 0;
                    while began.elapsed() < duration {
                        session
                            .sign(&mechanism, key, input)
                            .map_err(|error| Fault::pkcs11("signing with a session key", &error))?;
                        signatures += 1;
                    }
                    Ok((signatures, began.elapsed()))
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Fault::new(HsmErrorKind::Bug, "a thread panicked"))))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let signatures = counts.iter().map(|(signatures, _)| signatures).sum();
    let slowest = counts.iter().map(|(_, took)| *took).max().unwrap_or(duration);
    Ok(Started::Measured { signatures, nanoseconds: u64::try_from(slowest.as_nanos()).unwrap_or(u64::MAX) })
}

/// An input as the mechanism takes it, for a message that says so.
fn sample_input(algorithm: Algorithm) -> Result<Vec<u8>, Fault> {
    let message = b"chancery bench";
    let Some(hash) = algorithm.hash() else { return Ok(message.to_vec()) };
    let digest = chancery_crypto::hash(hash, message);
    if algorithm.scheme() != SignatureScheme::RsaPkcs1 {
        return Ok(digest.as_bytes().to_vec());
    }
    chancery_crypto::digest_info(&digest)
        .ok_or_else(|| Fault::new(HsmErrorKind::Bug, format!("no DigestInfo names the hash of {algorithm}")))
}

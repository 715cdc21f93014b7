//! How fast the token signs with one session and with several.

use super::samples::{destroy, make_pair, offered, sample, sign};
use super::{Left, Limits, Patient, Teller};
use crate::HsmErrorKind;
use crate::doctor::{Examined, SessionRate};
use crate::worker::fault::Fault;
use chancery_model::{Algorithm, KeyPurpose};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// One for each kind of work that a device does.
const MEASURED: [Algorithm; 4] =
    [Algorithm::EcdsaP256Sha256, Algorithm::RsaPkcs1_2048Sha256, Algorithm::Ed25519, Algorithm::MlDsa65];

pub(super) fn examine(told: &Teller<'_>, patient: &Patient, limits: Limits) -> Result<(), Left> {
    let offered = offered(patient, KeyPurpose::Signature);
    for algorithm in MEASURED.into_iter().filter(|algorithm| offered.contains(algorithm)) {
        let pair = make_pair(patient, algorithm)?;
        let (mut best, mut in_vain) = (0, 0);
        let mut count = 1;
        while count <= limits.most_sessions {
            told.step(format!("measuring {algorithm} with {count} sessions"))?;
            let Some(per_second) = measure(patient, algorithm, pair.private, count, limits.milliseconds)? else {
                break;
            };
            told.tell(&Examined::Rate(SessionRate { algorithm: algorithm.to_string(), sessions: count, per_second }))?;
            // Less than a tenth more for twice the sessions, and again: that was the end.
            in_vain = if per_second * 10 < best * 11 { in_vain + 1 } else { 0 };
            if in_vain == 2 {
                break;
            }
            best = best.max(per_second);
            count *= 2;
        }
        destroy(&patient.writing, &[pair.private, pair.public_object])?;
    }
    Ok(())
}

/// Signatures in a second; `None` where the token has not so many sessions.
fn measure(
    patient: &Patient,
    algorithm: Algorithm,
    key: ObjectHandle,
    count: usize,
    milliseconds: u64,
) -> Result<Option<u64>, Fault> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        match patient.held.open_session() {
            Ok(session) => sessions.push(session),
            Err(fault) if fault.kind == HsmErrorKind::Capacity => break,
            Err(fault) => return Err(fault),
        }
    }
    let enough = sessions.len() == count;
    let measured = if enough { in_threads(&mut sessions, algorithm, key, milliseconds).map(Some) } else { Ok(None) };
    sessions.into_iter().for_each(|session| patient.held.close(session));
    measured
}

fn in_threads(
    sessions: &mut [Session],
    algorithm: Algorithm,
    key: ObjectHandle,
    milliseconds: u64,
) -> Result<u64, Fault> {
    let (sample, duration) = (sample(algorithm, 0)?, Duration::from_millis(milliseconds));
    let start = Barrier::new(sessions.len());
    let counts = std::thread::scope(|scope| {
        let running: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                let (sample, start) = (&sample, &start);
                scope.spawn(move || -> Result<(u64, Duration), Fault> {
                    start.wait();
                    let began = Instant::now();
                    let mut signatures = 0;
                    loop {
                        sign(session, algorithm, key, sample)?;
                        signatures += 1;
                        if began.elapsed() >= duration {
                            return Ok((signatures, began.elapsed()));
                        }
                    }
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Fault::new(HsmErrorKind::Bug, "a thread panicked"))))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let signatures: u64 = counts.iter().map(|(signatures, _)| signatures).sum();
    let slowest = counts.iter().map(|(_, took)| took.as_micros()).max().unwrap_or(1).max(1);
    Ok(u64::try_from(u128::from(signatures) * 1_000_000 / slowest).unwrap_or(u64::MAX))
}

//! Whether signatures stay right when several threads sign at once, with different keys.

use super::samples::{Pair, destroy, favourite, is_right, make_pair, sample, sign};
use super::{Left, Limits, Patient, Teller};
use crate::HsmErrorKind;
use crate::worker::fault::Fault;
use std::sync::Barrier;

/// Threads, where the token has as many sessions.
const THREADS: usize = 4;

/// Signatures of each thread.
const EACH: u32 = 32;

pub(super) fn examine(told: &Teller<'_>, patient: &Patient, limits: Limits) -> Result<(), Left> {
    let Some(algorithm) = favourite(patient) else { return Ok(()) };
    told.step("opening sessions for several threads")?;
    let mut sessions = Vec::new();
    while sessions.len() < THREADS.min(limits.most_sessions) {
        match patient.held.open_session() {
            Ok(session) => sessions.push(session),
            Err(fault) if fault.kind == HsmErrorKind::Capacity => break,
            Err(fault) => return Err(fault.into()),
        }
    }
    if sessions.len() < 2 {
        sessions.into_iter().for_each(|session| patient.held.close(session));
        told.note("the token has no sessions for a second thread", "one thread signs at a time")?;
        return Ok(());
    }
    let pairs = [make_pair(patient, algorithm)?, make_pair(patient, algorithm)?];
    let threads = sessions.len();
    told.step(format!("signing for {algorithm} in {threads} threads at once, with two keys"))?;
    let start = Barrier::new(threads);
    let counts = std::thread::scope(|scope| {
        let running: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(thread, session)| {
                let (pairs, start) = (&pairs, &start);
                // A session goes with its thread.
                let session: &mut cryptoki::session::Session = session;
                scope.spawn(move || -> Result<usize, Fault> {
                    start.wait();
                    let mut wrong = 0;
                    for number in 0..EACH {
                        // Neighbours sign different messages with different keys.
                        let place = usize::try_from(number).unwrap_or(0) + thread;
                        let Some(Pair { private, public, .. }) = pairs.get(place % pairs.len()) else { continue };
                        let sample = sample(algorithm, number + 1_000 * u32::try_from(thread).unwrap_or(0))?;
                        let signature = sign(session, algorithm, *private, &sample)?;
                        wrong += usize::from(!is_right(public, &sample, &signature));
                    }
                    Ok(wrong)
                })
            })
            .collect();
        let joined: Vec<Result<usize, Fault>> = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Fault::new(HsmErrorKind::Bug, "a thread panicked"))))
            .collect();
        joined
    });
    sessions.into_iter().for_each(|session| patient.held.close(session));
    for pair in &pairs {
        destroy(&patient.writing, &[pair.private, pair.public_object])?;
    }
    let advice = "set signing_threads = 1 for this token, and tell its maker";
    let failed = counts.iter().find_map(|count| count.as_ref().err());
    let wrong: usize = counts.iter().filter_map(|count| count.as_ref().ok()).sum();
    match (failed, wrong) {
        (_, 1..) => told.stops(format!("{wrong} signatures made by {threads} threads at once are wrong"), advice)?,
        (Some(fault), 0) => {
            told.stops(format!("signing in {threads} threads at once fails: {}", fault.message), advice)?
        }
        (None, 0) => told.ok(format!(
            "{} signatures made by {threads} threads at once, with two keys, are right",
            threads * usize::try_from(EACH).unwrap_or(0)
        ))?,
    }
    Ok(())
}

//! What goes wrong before the module behind is called.

use super::call::Call;
use super::gate;
use super::tracker::sessions;
use crate::control;
use crate::names::name_of_code;
use crate::rules::{Active, At, Crash, Effect, Hang};
use cryptoki_sys::{CK_RV, CK_SLOT_ID};
use std::time::Duration;

/// How often a call that hangs looks whether it still has to.
const LOOK: Duration = Duration::from_millis(5);

/// How a call goes on.
pub(super) enum Next {
    /// It does.
    Call,
    /// Not at all: this is the answer.
    Answer(CK_RV),
}

/// Does what rules say is to happen before the call.
pub(super) fn happen(call: &Call, fired: &[&Active]) -> Next {
    for rule in fired.iter().filter(|rule| rule.rule.at == At::Before) {
        match rule.effect {
            Effect::Return(code) => {
                if call.happens(rule, &format!("answered {}", name_of_code(code))) {
                    return Next::Answer(code);
                }
            }
            Effect::CloseSessions => close_sessions(call, rule),
            Effect::Logout => log_out(call, rule),
            _ => happen_to_process(call, rule),
        }
    }
    Next::Call
}

/// Delays, leaks, hangs and crashes, if the rule is such.
pub(super) fn happen_to_process(call: &Call, rule: &Active) {
    match rule.effect {
        Effect::Delay(delay) if call.happens(rule, &format!("delayed by {} ms", delay.as_millis())) => {
            std::thread::sleep(delay);
        }
        Effect::Leak(bytes) if call.happens(rule, &format!("leaked {bytes} bytes")) => leak(bytes),
        Effect::Hang(until) if call.happens(rule, "hung") => {
            while until == Hang::ForEver || still_stands(rule) {
                std::thread::sleep(LOOK);
            }
        }
        Effect::Crash(how) if call.happens(rule, if how == Crash::Segv { "crashed by SIGSEGV" } else { "aborted" }) => {
            crash(how);
        }
        _ => {}
    }
}

/// Where there is no more memory to be had, that is all that there is to leak.
fn leak(bytes: usize) {
    let mut leaked: Vec<u8> = Vec::new();
    if leaked.try_reserve_exact(bytes).is_ok() {
        // Written to, since what is only reserved is in no memory yet.
        leaked.resize(bytes, 1);
        std::mem::forget(std::hint::black_box(leaked));
    }
}

/// Rules that cannot be read now are not gone.
fn still_stands(rule: &Active) -> bool {
    control::current().map_or(true, |rules| rules.contains(rule))
}

fn crash(how: Crash) {
    if how == Crash::Segv {
        // SAFETY: signals the own process. A handler gets to see it first, as it would a real one; Rust's own returns from
        // a SIGSEGV that is not of its stack, with the default put back in place, so a second one ends the process.
        unsafe {
            libc::raise(libc::SIGSEGV);
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            libc::raise(libc::SIGSEGV);
        }
    }
    std::process::abort();
}

fn close_sessions(call: &Call, rule: &Active) {
    let Some(slot) = call.slot else { return };
    let mut sessions = sessions();
    let living = sessions.living(slot);
    if living > 0 && call.happens(rule, &format!("closed {living} sessions")) {
        sessions.kill_all(slot);
    }
}

fn log_out(call: &Call, rule: &Active) {
    let Some(session) = call.slot.and_then(session_in) else { return };
    if call.happens(rule, "logged out") {
        let log_out = super::behind::behind().ok().and_then(|behind| behind.own.C_Logout);
        if let Some(log_out) = log_out {
            // SAFETY: takes a number; one that is no session is answered by an error.
            gate::alone(|| unsafe { log_out(session) });
        }
    }
}

fn session_in(slot: CK_SLOT_ID) -> Option<u64> {
    sessions().any_in(slot)
}

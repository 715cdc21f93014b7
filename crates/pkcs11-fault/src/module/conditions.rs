//! What the device is like for as long as a rule stands: the token is absent, sessions are few or short-lived, PINs lock.

use super::call::Call;
use super::objects;
use super::tracker::sessions;
use crate::function::{Function, Scope};
use crate::rules::{Active, Effect, RuleSet, When};
use crate::{log, state};
use cryptoki_sys::{
    CK_RV, CK_SLOT_ID, CK_TOKEN_INFO, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED,
    CKR_DEVICE_REMOVED, CKR_OK, CKR_PIN_INCORRECT, CKR_PIN_LOCKED, CKR_SESSION_COUNT, CKR_TOKEN_NOT_PRESENT, CKU_USER,
};
use std::time::{Duration, Instant};

/// Whether a rule about what the device is like is about this slot.
pub(super) fn is_about(rule: &Active, slot: CK_SLOT_ID) -> bool {
    let When { slot: number, token, .. } = &rule.rule.when;
    number.is_none_or(|number| number == slot)
        && token.as_ref().is_none_or(|label| objects::token(slot).is_some_and(|token| token.label == label.as_bytes()))
}

/// The rule by which a slot's token is absent.
pub(super) fn absence(rules: &RuleSet, slot: CK_SLOT_ID) -> Option<&Active> {
    let rules = rules.conditions().iter().map(AsRef::as_ref);
    rules.filter(|rule| rule.effect == Effect::Absent).find(|rule| is_about(rule, slot))
}

/// What the device answers by itself, before anything else happens to the call.
pub(super) fn before(rules: &RuleSet, call: &Call) -> Option<CK_RV> {
    let slot = call.slot?;
    for rule in rules.conditions().iter().filter(|rule| is_about(rule, slot)) {
        let answer = match rule.effect {
            Effect::Absent => absent(call, rule, slot),
            Effect::IdleExpiry(limit) => {
                expire(call, rule, limit);
                None
            }
            Effect::SessionCap(cap) => refuse_session(call, rule, slot, cap),
            Effect::PinLocksAfter(tries) => refuse_pin(call, rule, slot, tries),
            _ => None,
        };
        if answer.is_some() {
            return answer;
        }
    }
    None
}

/// What the device makes of an answer.
pub(super) fn after(rules: &RuleSet, call: &Call, code: CK_RV) {
    let Some(slot) = call.slot else { return };
    for rule in rules.conditions().iter() {
        if let Effect::PinLocksAfter(tries) = rule.effect
            && is_about(rule, slot)
        {
            count_pin(call, rule, slot, tries, code);
        }
    }
}

fn absent(call: &Call, rule: &Active, slot: CK_SLOT_ID) -> Option<CK_RV> {
    sessions().kill_all(slot);
    match (call.function, call.shape.scope) {
        // The slot is there; `slots` says that nothing is in it.
        (Function::C_GetSlotInfo, _) => None,
        (_, Scope::Session) => {
            log::injected(call.function, rule, "the token is absent: answered CKR_DEVICE_REMOVED");
            Some(CKR_DEVICE_REMOVED)
        }
        _ => {
            log::injected(call.function, rule, "the token is absent: answered CKR_TOKEN_NOT_PRESENT");
            Some(CKR_TOKEN_NOT_PRESENT)
        }
    }
}

fn expire(call: &Call, rule: &Active, limit: Duration) {
    let Some(handle) = call.session else { return };
    let mut sessions = sessions();
    let Some(session) = sessions.get(handle).filter(|session| !session.is_dead) else { return };
    // How long it was idle before the rule stood, nobody knows.
    let idle = session.last_used.max(rule.since).elapsed();
    if idle > limit {
        log::injected(call.function, rule, &format!("closed the session after {} ms", idle.as_millis()));
        sessions.kill(handle);
    } else {
        session.last_used = Instant::now();
    }
}

fn refuse_session(call: &Call, rule: &Active, slot: CK_SLOT_ID, cap: u64) -> Option<CK_RV> {
    let living = sessions().living(slot) as u64;
    (call.function == Function::C_OpenSession && living >= cap).then(|| {
        log::injected(call.function, rule, &format!("answered CKR_SESSION_COUNT with {living} sessions open"));
        CKR_SESSION_COUNT
    })
}

fn refuse_pin(call: &Call, rule: &Active, slot: CK_SLOT_ID, tries: u64) -> Option<CK_RV> {
    if !is_login_of_user(call) {
        return None;
    }
    let serial = objects::token(slot)?.serial;
    (state::wrong_pins(rule, &serial, |wrong| wrong) >= tries).then(|| {
        log::injected(call.function, rule, "the PIN is locked: answered CKR_PIN_LOCKED");
        CKR_PIN_LOCKED
    })
}

fn count_pin(call: &Call, rule: &Active, slot: CK_SLOT_ID, tries: u64, code: CK_RV) {
    let Some(serial) = objects::token(slot).map(|token| token.serial) else { return };
    if is_login_of_user(call) {
        match code {
            CKR_OK => drop(state::wrong_pins(rule, &serial, |_| 0)),
            CKR_PIN_INCORRECT => drop(state::wrong_pins(rule, &serial, |wrong| wrong + 1)),
            _ => {}
        }
    } else if call.function == Function::C_GetTokenInfo && code == CKR_OK {
        let wrong = state::wrong_pins(rule, &serial, |wrong| wrong);
        let mut flags = if wrong > 0 { CKF_USER_PIN_COUNT_LOW } else { 0 };
        flags |= if wrong + 1 == tries { CKF_USER_PIN_FINAL_TRY } else { 0 };
        flags |= if wrong >= tries { CKF_USER_PIN_LOCKED } else { 0 };
        // SAFETY: it was answered, so there is a place for it.
        if let Some(info) = unsafe { call.words.pointer::<CK_TOKEN_INFO>(1).as_mut() } {
            info.flags |= flags;
        }
    }
}

fn is_login_of_user(call: &Call) -> bool {
    matches!(call.function, Function::C_Login | Function::C_LoginUser) && call.words.number(1) == CKU_USER
}

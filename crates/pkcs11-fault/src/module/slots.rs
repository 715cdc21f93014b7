//! Slots that have other numbers than the module behind gives them, and tokens that are not in theirs.

use super::call::Call;
use super::conditions::{absence, is_about};
use super::engine::Real;
use super::objects;
use super::thunk::Words;
use crate::function::{Function, Scope};
use crate::log;
use crate::rules::{Active, Effect, RuleSet};
use cryptoki_sys::{
    CK_RV, CK_SESSION_INFO, CK_SLOT_ID, CK_SLOT_INFO, CK_ULONG, CKF_TOKEN_PRESENT, CKR_ARGUMENTS_BAD,
    CKR_BUFFER_TOO_SMALL, CKR_OK, CKR_SLOT_ID_INVALID,
};

/// Puts the number that the module behind gives a slot in the place of the one that it has for the program.
///
/// # Errors
/// The answer, where no slot has this number for the program.
pub(super) fn into_behind(rules: &RuleSet, function: Function, words: &Words) -> Result<Words, CK_RV> {
    if function.shape().scope != Scope::Slot {
        return Ok(*words);
    }
    let number = words.number(0);
    let all = || objects::slots(false).unwrap_or_default();
    for (rule, new) in renumbering(rules) {
        if new == number
            && let Some(slot) = all().into_iter().find(|slot| is_about(rule, *slot))
        {
            return Ok(words.with_number(0, slot));
        }
    }
    match renumbering(rules).find(|(rule, new)| *new != number && is_about(rule, number)) {
        Some((rule, _)) => {
            log::injected(function, rule, "the slot has another number: answered CKR_SLOT_ID_INVALID");
            Err(CKR_SLOT_ID_INVALID)
        }
        None => Ok(*words),
    }
}

/// Puts the number that a slot has for the program into what the module behind answered.
pub(super) fn into_front(rules: &RuleSet, call: &Call, code: CK_RV) {
    if code != CKR_OK {
        return;
    }
    // SAFETY: what was answered is in the place that the standard says, and there is a place for it.
    unsafe {
        match call.function {
            Function::C_GetSessionInfo => {
                if let Some(info) = call.words.pointer::<CK_SESSION_INFO>(1).as_mut() {
                    info.slotID = front_number(rules, info.slotID);
                }
            }
            Function::C_WaitForSlotEvent => {
                if let Some(slot) = call.words.pointer::<CK_SLOT_ID>(1).as_mut() {
                    *slot = front_number(rules, *slot);
                }
            }
            Function::C_GetSlotInfo => {
                let absence = call.slot.and_then(|slot| absence(rules, slot));
                if let Some(rule) = absence
                    && let Some(info) = call.words.pointer::<CK_SLOT_INFO>(1).as_mut()
                {
                    info.flags &= !CKF_TOKEN_PRESENT;
                    log::injected(call.function, rule, "the token is absent: the slot is shown without it");
                }
            }
            _ => {}
        }
    }
}

/// Lists slots.
pub(super) fn list(rules: &RuleSet, call: &Call, real: Real<'_>) -> CK_RV {
    let with_token = call.words.number(0) != 0;
    let is_changed =
        rules.conditions().iter().any(|rule| matches!(rule.effect, Effect::Absent | Effect::SlotNumber(_)));
    let Some(slots) = is_changed.then(|| objects::slots(with_token)).flatten() else {
        return real(&call.words);
    };
    let mut shown: Vec<CK_SLOT_ID> = Vec::new();
    for slot in slots {
        match absence(rules, slot) {
            Some(rule) if with_token => {
                super::tracker::sessions().kill_all(slot);
                log::injected(call.function, rule, "the token is absent: its slot is not listed");
            }
            _ => {
                let number = front_number(rules, slot);
                if number != slot
                    && let Some((rule, _)) = renumbering(rules).find(|(rule, _)| is_about(rule, slot))
                {
                    log::injected(call.function, rule, &format!("slot {slot} is listed as {number}"));
                }
                shown.push(number);
            }
        }
    }
    answer(call, &shown)
}

fn answer(call: &Call, shown: &[CK_SLOT_ID]) -> CK_RV {
    let list = call.words.pointer::<CK_SLOT_ID>(1);
    // SAFETY: the program says how many numbers there is room for, and no more are written.
    unsafe {
        let Some(count) = call.words.pointer::<CK_ULONG>(2).as_mut() else { return CKR_ARGUMENTS_BAD };
        let room = std::mem::replace(count, shown.len() as CK_ULONG);
        if list.is_null() {
            return CKR_OK;
        }
        if room < *count {
            return CKR_BUFFER_TOO_SMALL;
        }
        list.copy_from_nonoverlapping(shown.as_ptr(), shown.len());
    }
    CKR_OK
}

fn renumbering(rules: &RuleSet) -> impl Iterator<Item = (&Active, CK_SLOT_ID)> {
    rules.conditions().iter().filter_map(|rule| match rule.effect {
        Effect::SlotNumber(number) => Some((rule.as_ref(), number)),
        _ => None,
    })
}

fn front_number(rules: &RuleSet, slot: CK_SLOT_ID) -> CK_SLOT_ID {
    renumbering(rules).find(|(rule, _)| is_about(rule, slot)).map_or(slot, |(_, number)| number)
}

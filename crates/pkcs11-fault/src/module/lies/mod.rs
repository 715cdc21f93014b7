//! Lies: the module behind is called, and its answer is not what the program gets.

mod attributes;
mod output;
mod search;

use super::call::Call;
use super::engine::Real;
use super::objects;
use crate::rules::{Active, Effect, Verdict};
use cryptoki_sys::{CK_RV, CKR_FUNCTION_FAILED, CKR_OK, CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE};

/// Calls the module behind, and answers as the rules that fired say.
pub(super) fn call(call: &Call, fired: &[&Active], real: Real<'_>) -> CK_RV {
    let mut words = call.words;
    for rule in fired {
        if let Effect::OtherKey(which) = &rule.effect {
            let (Some(slot), Some(session)) = (call.slot, call.session) else { continue };
            match objects::other(slot, session, words.number(2), which) {
                Ok(key) => {
                    if call.happens(rule, "used another key") {
                        words = words.with_number(2, key);
                    }
                }
                Err(why) => {
                    call.cannot(rule, &why);
                    return CKR_FUNCTION_FAILED;
                }
            }
        }
    }
    let asked = attributes::Asked::of(call, fired);
    let mut code = match search::to_come(call) {
        Some(code) => code,
        None => real(&words),
    };
    for rule in fired {
        code = match &rule.effect {
            Effect::FlipBit(bit) => output::flip_bit(call, rule, code, *bit),
            Effect::RepeatNonce => output::repeat_nonce(call, rule, code),
            Effect::Zeros => output::zeros(call, rule, code),
            Effect::Verify(verdict) => verify(call, rule, code, *verdict),
            Effect::Find(find) => search::lie(call, rule, code, *find, real),
            Effect::Attribute(attribute, value) => asked.attribute(call, rule, code, *attribute, value),
            Effect::OtherPublicKey(which) => asked.other_public_key(call, rule, code, which),
            _ => code,
        };
    }
    code
}

fn verify(call: &Call, rule: &Active, code: CK_RV, verdict: Verdict) -> CK_RV {
    match (verdict, code) {
        (Verdict::Yes, CKR_SIGNATURE_INVALID | CKR_SIGNATURE_LEN_RANGE)
            if call.happens(rule, "a wrong signature was called valid") =>
        {
            CKR_OK
        }
        (Verdict::No, CKR_OK) if call.happens(rule, "a right signature was called invalid") => CKR_SIGNATURE_INVALID,
        _ => code,
    }
}

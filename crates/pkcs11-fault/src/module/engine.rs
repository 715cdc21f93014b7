//! What happens in a call: the one route that all take.

use super::before::{self, Next};
use super::call::Call;
use super::{conditions, lies, operation, slots, tracker};
use crate::control;
use crate::function::Function;
use crate::module::thunk::Words;
use crate::names::name_of_code;
use crate::rules::{Active, At, Effect, RuleSet};
use cryptoki_sys::{CK_RV, CKR_FUNCTION_FAILED};

/// The real call.
pub(super) type Real<'a> = &'a dyn Fn(&Words) -> CK_RV;

/// Does what a call asks, or what the rules make of it.
pub(crate) fn run(function: Function, words: &Words, real: impl Fn(&Words) -> CK_RV) -> CK_RV {
    let Ok(rules) = control::current() else { return CKR_FUNCTION_FAILED };
    if rules.events(function).is_empty() && rules.conditions().is_empty() {
        let code = real(words);
        tracker::note(function, words, code);
        return code;
    }
    run_under(&rules, function, words, &real)
}

fn run_under(rules: &RuleSet, function: Function, words: &Words, real: Real<'_>) -> CK_RV {
    let words = match slots::into_behind(rules, function, words) {
        Ok(words) => words,
        Err(code) => return code,
    };
    let call = Call::new(function, words);
    if let Some(code) = conditions::before(rules, &call) {
        tracker::note(function, &call.words, code);
        return code;
    }
    let fired: Vec<&Active> =
        rules.events(function).iter().map(AsRef::as_ref).filter(|rule| call.meets(rule) && rule.counts()).collect();

    let mut code = match before::happen(&call, &fired) {
        Next::Answer(code) => {
            operation::end(&call, code, false);
            return code;
        }
        Next::Call if function == Function::C_GetSlotList => slots::list(rules, &call, real),
        Next::Call => lies::call(&call, &fired, real),
    };
    tracker::note(function, &call.words, code);
    for rule in fired.iter().filter(|rule| rule.rule.at == At::After) {
        if let Effect::Return(instead) = rule.effect {
            if call.happens(rule, &format!("answered {} for {}", name_of_code(instead), name_of_code(code))) {
                operation::end(&call, instead, true);
                code = instead;
            }
        } else {
            before::happen_to_process(&call, rule);
        }
    }
    conditions::after(rules, &call, code);
    slots::into_front(rules, &call, code);
    code
}

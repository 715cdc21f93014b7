//! From what stands in a file to rules that can be followed. A rule that cannot mean what it says is an error.

use super::file::{At, AttributeLie, AttributeValue, Choice, Find, Functions, Rule, Then, Verdict, When};
use super::{Crash, Hang};
use crate::function::{Function, Operation, Output, Scope};
use crate::names;
use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CK_RV, CK_ULONG, CKR_OK};
use std::time::Duration;

/// What a rule does, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Return(CK_RV),
    Delay(Duration),
    Leak(usize),
    Hang(Hang),
    Crash(Crash),
    CloseSessions,
    Logout,
    FlipBit(u64),
    OtherKey(Other),
    OtherPublicKey(Other),
    Find(Find),
    Attribute(CK_ATTRIBUTE_TYPE, Vec<u8>),
    RepeatNonce,
    Zeros,
    Verify(Verdict),
    // The device is another one for as long as the rule stands.
    SessionCap(u64),
    IdleExpiry(Duration),
    Absent,
    SlotNumber(u64),
    PinLocksAfter(u64),
}

/// Which other key, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Other {
    Any,
    Label(String),
    Id(Vec<u8>),
}

impl Effect {
    /// Whether it says what the device is like, not what happens to single calls.
    pub(crate) const fn is_condition(&self) -> bool {
        matches!(
            self,
            Self::SessionCap(_) | Self::IdleExpiry(_) | Self::Absent | Self::SlotNumber(_) | Self::PinLocksAfter(_)
        )
    }
}

/// A rule's functions and effect.
pub(super) fn understand(rule: &Rule) -> Result<(Vec<Function>, Effect), String> {
    let effect = effect(&rule.then)?;
    check_when(&rule.when)?;
    if effect.is_condition() {
        check_condition(rule, &effect)?;
        return Ok((Vec::new(), effect));
    }
    let functions = match functions(&rule.function, &effect)? {
        None => natural(&effect).ok_or("say on which `function` this is to happen")?,
        Some(named) => named,
    };
    if let Some(wrong) = functions.iter().find(|function| !fits(&effect, **function)) {
        return Err(format!("what is to happen cannot happen in {}", wrong.name()));
    }
    if rule.at == At::After
        && !matches!(effect, Effect::Return(_) | Effect::Delay(_) | Effect::Hang(_) | Effect::Crash(_))
    {
        return Err("`at = \"after\"` goes with return, delay_ms, hang and crash".to_owned());
    }
    if let Effect::Return(CKR_OK) = effect
        && rule.at == At::Before
    {
        return Err("CKR_OK without the call would leave its output undone; say `at = \"after\"`".to_owned());
    }
    Ok((functions, effect))
}

fn effect(then: &Then) -> Result<Effect, String> {
    Ok(match then {
        Then::Return(code) => {
            let known = names::return_code(code);
            Effect::Return(known.ok_or_else(|| format!("{code:?} is no return code; write CKR_... or 0x..."))?)
        }
        Then::DelayMs(delay) => Effect::Delay(Duration::from_millis(*delay)),
        Then::LeakBytes(bytes) => {
            Effect::Leak(usize::try_from(*bytes).map_err(|error| format!("leak_bytes: {error}"))?)
        }
        Then::Hang(until) => Effect::Hang(*until),
        Then::Crash(how) => Effect::Crash(*how),
        Then::CloseSessions => Effect::CloseSessions,
        Then::Logout => Effect::Logout,
        Then::FlipBit(bit) => Effect::FlipBit(*bit),
        Then::OtherKey(choice) => Effect::OtherKey(other(choice)?),
        Then::OtherPublicKey(choice) => Effect::OtherPublicKey(other(choice)?),
        Then::Find(find) => Effect::Find(*find),
        Then::Attribute(AttributeLie { name, value }) => {
            let known = names::attribute(name);
            let known = known.ok_or_else(|| format!("{name:?} is no attribute; write CKA_... or 0x..."))?;
            Effect::Attribute(known, bytes(value))
        }
        Then::RepeatNonce => Effect::RepeatNonce,
        Then::Zeros => Effect::Zeros,
        Then::Verify(verdict) => Effect::Verify(*verdict),
        Then::SessionCap(cap) => Effect::SessionCap(*cap),
        Then::IdleExpiryMs(idle) => Effect::IdleExpiry(Duration::from_millis(*idle)),
        Then::Absent => Effect::Absent,
        Then::SlotNumber(number) => Effect::SlotNumber(*number),
        Then::PinLocksAfter(0) => return Err("a PIN locks after 1 wrong one at the least".to_owned()),
        Then::PinLocksAfter(tries) => Effect::PinLocksAfter(*tries),
    })
}

fn bytes(value: &AttributeValue) -> Vec<u8> {
    match value {
        AttributeValue::Boolean(value) => vec![u8::from(*value)],
        AttributeValue::Number(value) => CK_ULONG::from(*value).to_ne_bytes().to_vec(),
        AttributeValue::Text(text) => text.as_bytes().to_vec(),
    }
}

fn other(choice: &Choice) -> Result<Other, String> {
    Ok(match choice {
        Choice::Any => Other::Any,
        Choice::Label(label) => Other::Label(label.clone()),
        Choice::Id(id) => Other::Id(from_hex(id)?),
    })
}

/// The bytes of a CKA_ID in hexadecimal.
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{text:?} is no CKA_ID in hexadecimal, as 0a1b");
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(wrong());
    }
    let pairs =
        (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok()));
    pairs.collect::<Option<_>>().ok_or_else(wrong)
}

fn functions(named: &Functions, effect: &Effect) -> Result<Option<Vec<Function>>, String> {
    let by_name = |name: &String| Function::by_name(name).ok_or_else(|| format!("PKCS#11 has no function {name:?}"));
    Ok(match named {
        Functions::Default => None,
        Functions::One(all) if all == "*" => {
            Some(Function::ALL.iter().copied().filter(|function| fits(effect, *function)).collect())
        }
        Functions::One(name) => Some(vec![by_name(name)?]),
        Functions::Several(names) if names.is_empty() => return Err("`function` names none".to_owned()),
        Functions::Several(names) => Some(names.iter().map(by_name).collect::<Result<_, _>>()?),
    })
}

/// The functions that an effect is made for.
fn natural(effect: &Effect) -> Option<Vec<Function>> {
    use Function as F;
    Some(match effect {
        Effect::FlipBit(_) | Effect::RepeatNonce => vec![F::C_Sign, F::C_SignFinal],
        Effect::OtherKey(_) => vec![F::C_SignInit],
        Effect::OtherPublicKey(_) | Effect::Attribute(..) => vec![F::C_GetAttributeValue],
        Effect::Find(_) => vec![F::C_FindObjects],
        Effect::Zeros => vec![F::C_GenerateRandom],
        Effect::Verify(_) => vec![F::C_Verify, F::C_VerifyFinal],
        _ => return None,
    })
}

/// Whether an effect can happen in a function.
fn fits(effect: &Effect, function: Function) -> bool {
    let shape = function.shape();
    match effect {
        Effect::FlipBit(_) => shape.output != Output::None,
        Effect::OtherKey(_) => shape.begins.is_some_and(|operation| operation != Operation::Digest),
        // These are about a slot, and the module as a whole is in none.
        Effect::CloseSessions | Effect::Logout => shape.scope != Scope::Module,
        Effect::RepeatNonce
        | Effect::OtherPublicKey(_)
        | Effect::Attribute(..)
        | Effect::Find(_)
        | Effect::Zeros
        | Effect::Verify(_) => natural(effect).is_some_and(|natural| natural.contains(&function)),
        _ => true,
    }
}

fn check_when(when: &When) -> Result<(), String> {
    if [when.nth, when.every].contains(&Some(0)) {
        return Err("calls are counted from 1".to_owned());
    }
    if when.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
        return Err("a probability is 0 to 1".to_owned());
    }
    if when.seed.is_some() && when.probability.is_none() {
        return Err("`seed` goes with `probability`".to_owned());
    }
    Ok(())
}

fn check_condition(rule: &Rule, effect: &Effect) -> Result<(), String> {
    let When { slot, token, .. } = &rule.when;
    let only = When { slot: *slot, token: token.clone(), ..When::default() };
    if rule.when != only || rule.function != Functions::Default || rule.at != At::Before {
        let why =
            "this is what the device is like for as long as the rule stands: only `slot` or `token` can be said of it";
        return Err(why.to_owned());
    }
    if matches!(effect, Effect::SlotNumber(_)) && rule.when == When::default() {
        return Err("say of which `slot` or `token`: two slots cannot have one number".to_owned());
    }
    Ok(())
}

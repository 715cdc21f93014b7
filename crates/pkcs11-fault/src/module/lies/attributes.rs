//! Lies about attributes.

use super::super::call::Call;
use super::super::objects;
use crate::rules::{Active, Effect, Other};
use crate::state;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_RV, CK_ULONG, CK_UNAVAILABLE_INFORMATION, CKA_CLASS, CKA_EC_POINT, CKA_MODULUS,
    CKA_PUBLIC_EXPONENT, CKA_PUBLIC_KEY_INFO, CKA_VALUE, CKO_PUBLIC_KEY, CKR_ATTRIBUTE_SENSITIVE,
    CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL, CKR_FUNCTION_FAILED, CKR_OK,
};

/// The attributes that a public key is made of.
const PUBLIC: [CK_ATTRIBUTE_TYPE; 5] = [CKA_EC_POINT, CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_VALUE, CKA_PUBLIC_KEY_INFO];

/// What a program asked for: its template, as it was before the answer was written into it.
pub(super) struct Asked(Vec<CK_ATTRIBUTE>);

impl Asked {
    /// Empty, if no rule that fired needs it.
    pub(super) fn of(call: &Call, fired: &[&Active]) -> Self {
        let lies = |rule: &&Active| matches!(rule.effect, Effect::Attribute(..) | Effect::OtherPublicKey(_));
        Self(if fired.iter().any(lies) {
            template(call).as_deref().map(<[_]>::to_vec).unwrap_or_default()
        } else {
            Vec::new()
        })
    }

    /// Another value for an attribute.
    pub(super) fn attribute(
        &self,
        call: &Call,
        rule: &Active,
        code: CK_RV,
        lied_about: CK_ATTRIBUTE_TYPE,
        value: &[u8],
    ) -> CK_RV {
        if !is_answer(code) || !self.0.iter().any(|asked| asked.type_ == lied_about) {
            return code;
        }
        let is_lied_about = |asked: &CK_ATTRIBUTE| asked.type_ == lied_about;
        if !self.happens(call, rule, &format!("attribute {lied_about:#x} is told to be {}", hex(value)), is_lied_about)
        {
            return code;
        }
        self.answer(call, code, |asked| is_lied_about(asked).then(|| value.to_vec()))
    }

    /// The public key of another key.
    pub(super) fn other_public_key(&self, call: &Call, rule: &Active, code: CK_RV, which: &Other) -> CK_RV {
        let (Some(slot), Some(session)) = (call.slot, call.session) else { return code };
        let object = call.words.number(1);
        let class = objects::attribute_of(session, object, CKA_CLASS);
        let is_public = class == Some((CKO_PUBLIC_KEY as CK_ULONG).to_ne_bytes().to_vec());
        if !is_answer(code) || !is_public || !self.0.iter().any(|asked| PUBLIC.contains(&asked.type_)) {
            return code;
        }
        let other = match objects::other(slot, session, object, which) {
            Ok(other) => other,
            Err(why) => {
                call.cannot(rule, &why);
                return CKR_FUNCTION_FAILED;
            }
        };
        let is_of_it = |asked: &CK_ATTRIBUTE| PUBLIC.contains(&asked.type_);
        if !self.happens(call, rule, "the public key is another's", is_of_it) {
            return code;
        }
        self.answer(call, code, |asked| {
            is_of_it(asked).then(|| objects::attribute_of(session, other, asked.type_)).flatten()
        })
    }

    /// Whether the lie is told. A program that asks how long the value is gets the length that goes with it, which is no lie
    /// yet, and counts for none.
    fn happens(&self, call: &Call, rule: &Active, what: &str, is_lied_about: impl Fn(&CK_ATTRIBUTE) -> bool) -> bool {
        if self.0.iter().any(|asked| is_lied_about(asked) && !asked.pValue.is_null()) {
            call.happens(rule, what)
        } else {
            state::may_fire(rule)
        }
    }

    /// Writes values into the template as C_GetAttributeValue would, and answers what it would.
    fn answer(&self, call: &Call, code: CK_RV, value: impl Fn(&CK_ATTRIBUTE) -> Option<Vec<u8>>) -> CK_RV {
        let Some(template) = template(call) else { return code };
        let mut is_too_small = code == CKR_BUFFER_TOO_SMALL;
        for (answered, asked) in template.iter_mut().zip(&self.0) {
            let Some(value) = value(asked) else { continue };
            if asked.pValue.is_null() {
                answered.ulValueLen = value.len() as CK_ULONG;
            } else if asked.ulValueLen >= value.len() as CK_ULONG {
                // SAFETY: the program said that there is room for it.
                unsafe { asked.pValue.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len()) };
                answered.ulValueLen = value.len() as CK_ULONG;
            } else {
                answered.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                is_too_small = true;
            }
        }
        let is_whole = template.iter().all(|answered| answered.ulValueLen != CK_UNAVAILABLE_INFORMATION);
        match code {
            _ if is_whole => CKR_OK,
            CKR_OK if is_too_small => CKR_BUFFER_TOO_SMALL,
            code => code,
        }
    }
}

/// The codes with which C_GetAttributeValue has answered each attribute that it could.
const fn is_answer(code: CK_RV) -> bool {
    matches!(code, CKR_OK | CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID | CKR_BUFFER_TOO_SMALL)
}

#[allow(clippy::mut_from_ref, reason = "it is the program's memory, not the call's")]
fn template(call: &Call) -> Option<&mut [CK_ATTRIBUTE]> {
    let attributes = call.words.pointer::<CK_ATTRIBUTE>(2);
    let count = usize::try_from(call.words.number(3)).ok()?;
    // SAFETY: the function's arguments: so many attributes, which are the program's until the call returns.
    (!attributes.is_null()).then(|| unsafe { std::slice::from_raw_parts_mut(attributes, count) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

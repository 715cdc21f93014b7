//! Lies about bytes that a call made.

use super::super::call::Call;
use super::super::tracker::sessions;
use crate::function::{Output, Subject};
use crate::rules::Active;
use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_RV, CK_SLOT_ID, CK_ULONG, CKM_ECDSA, CKM_ECDSA_SHA1, CKM_ECDSA_SHA3_224, CKM_ECDSA_SHA3_256,
    CKM_ECDSA_SHA3_384, CKM_ECDSA_SHA3_512, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512,
    CKR_OK,
};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The mechanisms whose signature is r and s, each of half its length.
const ECDSA: [CK_ULONG; 10] = [
    CKM_ECDSA,
    CKM_ECDSA_SHA1,
    CKM_ECDSA_SHA224,
    CKM_ECDSA_SHA256,
    CKM_ECDSA_SHA384,
    CKM_ECDSA_SHA512,
    CKM_ECDSA_SHA3_224,
    CKM_ECDSA_SHA3_256,
    CKM_ECDSA_SHA3_384,
    CKM_ECDSA_SHA3_512,
];

/// What the call made, if it made anything. Not longer-lived than the call.
#[allow(clippy::mut_from_ref, reason = "it is the program's memory, not the call's")]
fn made(call: &Call, code: CK_RV) -> Option<&mut [u8]> {
    if code != CKR_OK {
        return None;
    }
    // SAFETY: the call succeeded, so there are as many bytes as it said; and nobody else has them before it returns.
    unsafe {
        let (at, length) = match call.shape.output {
            Output::None => return None,
            Output::Bytes(at) => (at, *call.words.pointer::<CK_ULONG>(at + 1).as_ref()?),
            Output::Filled(at) => (at, call.words.number(at + 1)),
        };
        let bytes = call.words.pointer::<u8>(at);
        let length = usize::try_from(length).ok()?;
        (!bytes.is_null() && length > 0).then(|| std::slice::from_raw_parts_mut(bytes, length))
    }
}

pub(super) fn flip_bit(call: &Call, rule: &Active, code: CK_RV, bit: u64) -> CK_RV {
    if let Some(bytes) = made(call, code)
        && let Ok(bit) = usize::try_from(bit % (8 * bytes.len() as u64))
        && call.happens(rule, &format!("flipped bit {bit}"))
        && let Some(byte) = bytes.get_mut(bit / 8)
    {
        *byte ^= 1 << (bit % 8);
    }
    code
}

pub(super) fn zeros(call: &Call, rule: &Active, code: CK_RV) -> CK_RV {
    if let Some(bytes) = made(call, code)
        && call.happens(rule, "random bytes are zeros")
    {
        bytes.fill(0);
    }
    code
}

/// Puts the r of the first signature that a key made under the rule into its others.
///
/// Without the private key this is all that can be done: such a signature repeats the nonce for everyone who looks at r,
/// and is no valid one.
pub(super) fn repeat_nonce(call: &Call, rule: &Active, code: CK_RV) -> CK_RV {
    type Seen = HashMap<(String, CK_SLOT_ID, CK_OBJECT_HANDLE), Vec<u8>>;
    static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

    let (Some(session), Some(slot), Subject::Key(operation)) = (call.session, call.slot, call.shape.subject) else {
        return code;
    };
    let key = sessions().key(session, operation);
    let Some(key) = key.filter(|key| ECDSA.contains(&key.mechanism)) else { return code };
    let Some(signature) = made(call, code) else { return code };
    let (r, _) = signature.split_at_mut(signature.len() / 2);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let first = seen.entry((rule.state_name(), slot, key.handle)).or_insert_with(|| r.to_vec());
    if first.len() == r.len() && *first != *r && call.happens(rule, "repeated the nonce of an earlier signature") {
        r.copy_from_slice(first);
    }
    code
}

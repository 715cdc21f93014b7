//! Ending operations of which the program was told that they failed.
//!
//! The standard: an error other than CKR_BUFFER_TOO_SMALL ends the operation. The module behind knows of no error, so its
//! operation would still be there at the next C_SignInit, which would fail for a reason that nobody injected.

use super::behind::behind;
use super::call::Call;
use super::gate;
use super::thunk::Words;
use crate::function::{Operation, Step};
use cryptoki_sys::{CK_BYTE, CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKR_BUFFER_TOO_SMALL, CKR_OK};

/// What is enough for a signature, a hash, or what a cipher adds to its input.
const ROOM: usize = 64 * 1024;

type Whole = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;
type Final = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

/// Ends the operation that a failed call is part of, unless the call itself was made and ended it.
///
/// There is no way to end one in version 2.40 but to carry it out: what comes out is thrown away.
pub(super) fn end(call: &Call, told: CK_RV, was_made: bool) {
    if [CKR_OK, CKR_BUFFER_TOO_SMALL].contains(&told) {
        return;
    }
    let Some((operation, step)) = call.shape.ends else { return };
    if was_made && step != Step::Update && call.has_room() != Some(false) {
        return;
    }
    let Ok(behind) = behind() else { return };
    let session = call.words.number(0);
    let is_whole = step == Step::Whole;
    match ways(&behind.own, operation) {
        (Some(whole), _) if is_whole => carry_out(whole, &call.words),
        (_, Some(last)) => {
            let (mut room, mut length) = (vec![0; ROOM], ROOM as CK_ULONG);
            // SAFETY: there is as much room as is said.
            gate::beside_others(|| unsafe { last(session, room.as_mut_ptr(), &raw mut length) });
        }
        _ => end_verify(&behind.own, &call.words, is_whole),
    }
}

fn ways(own: &CK_FUNCTION_LIST, operation: Operation) -> (Option<Whole>, Option<Final>) {
    match operation {
        Operation::Encrypt => (own.C_Encrypt, own.C_EncryptFinal),
        Operation::Decrypt => (own.C_Decrypt, own.C_DecryptFinal),
        Operation::Digest => (own.C_Digest, own.C_DigestFinal),
        Operation::Sign => (own.C_Sign, own.C_SignFinal),
        _ => (None, None),
    }
}

fn carry_out(whole: Whole, words: &Words) {
    let input = words.number(2);
    let mut room = vec![0; ROOM.saturating_add(usize::try_from(input).unwrap_or(0))];
    let mut length = room.len() as CK_ULONG;
    // SAFETY: the program's own input, and as much room as is said.
    gate::beside_others(|| unsafe {
        whole(words.number(0), words.pointer(1), input, room.as_mut_ptr(), &raw mut length)
    });
}

/// A signature of one byte is none: the operation is over and nothing was said of anything.
fn end_verify(own: &CK_FUNCTION_LIST, words: &Words, is_whole: bool) {
    let mut none = [0];
    // SAFETY: the program's own input, and a signature of one byte.
    gate::beside_others(|| unsafe {
        match (own.C_Verify, own.C_VerifyFinal) {
            (Some(verify), _) if is_whole => {
                verify(words.number(0), words.pointer(1), words.number(2), none.as_mut_ptr(), 1);
            }
            (_, Some(verify)) if !is_whole => {
                verify(words.number(0), none.as_mut_ptr(), 1);
            }
            _ => {}
        }
    });
}

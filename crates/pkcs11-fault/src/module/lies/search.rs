//! Lies about what a search finds.

use super::super::call::Call;
use super::super::engine::Real;
use super::super::tracker::{Search, sessions};
use crate::function::Function;
use crate::rules::{Active, Find};
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_RV, CK_ULONG, CKR_OK};

/// What is left of an earlier answer that did not fit, in the place of another one of the module behind.
pub(super) fn to_come(call: &Call) -> Option<CK_RV> {
    if call.function != Function::C_FindObjects {
        return None;
    }
    let left = with_search(call, |search| std::mem::take(&mut search.to_come))?;
    if left.is_empty() {
        return None;
    }
    give(call, left);
    Some(CKR_OK)
}

/// Lies once in a search: at the first objects that it finds.
pub(super) fn lie(call: &Call, rule: &Active, code: CK_RV, find: Find, real: Real<'_>) -> CK_RV {
    let mut found = found(call);
    let is_false = with_search(call, |search| search.is_false);
    let Some(&first) = found.first().filter(|_| code == CKR_OK && is_false == Some(false)) else { return code };
    let what = match find {
        Find::Duplicate => "an object was found twice",
        Find::Missing => "an object was not found",
    };
    if !call.happens(rule, what) {
        return code;
    }
    with_search(call, |search| search.is_false = true);
    match find {
        Find::Duplicate => found.insert(1, first),
        Find::Missing => {
            found.remove(0);
            if found.is_empty() {
                // An answer without any would end the search, and hide those that come after it as well.
                return real(&call.words);
            }
        }
    }
    give(call, found);
    code
}

fn with_search<T>(call: &Call, act: impl FnOnce(&mut Search) -> T) -> Option<T> {
    let session = call.session?;
    sessions().get(session).map(|session| act(&mut session.search))
}

fn found(call: &Call) -> Vec<CK_OBJECT_HANDLE> {
    let handles = call.words.pointer::<CK_OBJECT_HANDLE>(1);
    // SAFETY: the function has written so many handles there.
    unsafe {
        let count = call.words.pointer::<CK_ULONG>(3).as_ref().copied().unwrap_or(0);
        let count = usize::try_from(count).unwrap_or(0).min(room(call));
        if handles.is_null() { Vec::new() } else { std::slice::from_raw_parts(handles, count).to_vec() }
    }
}

fn room(call: &Call) -> usize {
    usize::try_from(call.words.number(2)).unwrap_or(0)
}

/// Answers as many as there is room for, and keeps the rest for the next call.
fn give(call: &Call, mut found: Vec<CK_OBJECT_HANDLE>) {
    let rest = found.split_off(found.len().min(room(call)));
    // SAFETY: no more handles than the program says there is room for, and a place for their number.
    unsafe {
        let (handles, count) = (call.words.pointer::<CK_OBJECT_HANDLE>(1), call.words.pointer::<CK_ULONG>(3));
        if !handles.is_null() && !count.is_null() {
            handles.copy_from_nonoverlapping(found.as_ptr(), found.len());
            *count = found.len() as CK_ULONG;
        }
    }
    with_search(call, |search| search.to_come = rest);
}

//! What the library exports: the three functions by which a program gets at all others.

use super::behind::{Behind, STANDARD, behind};
use super::engine;
use super::thunk::Words;
use crate::function::{self, Function};
use crate::log;
use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_INTERFACE, CK_RV, CK_ULONG, CK_UTF8CHAR,
    CK_VERSION, CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL, CKR_FUNCTION_FAILED, CKR_GENERAL_ERROR, CKR_OK,
};
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

/// Our lists and interfaces. Made once, read for ever.
struct Front {
    interfaces: Vec<CK_INTERFACE>,
    list: *mut CK_FUNCTION_LIST,
}

// SAFETY: what the pointers lead to was leaked, and nobody writes to it.
unsafe impl Send for Front {}
// SAFETY: as above.
unsafe impl Sync for Front {}

/// Where a program begins that knows version 2.40.
///
/// # Safety
/// `list` points to where a pointer can be written, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    answer(Function::C_GetFunctionList, &|front| {
        // SAFETY: the caller's promise.
        match unsafe { list.as_mut() } {
            None => CKR_ARGUMENTS_BAD,
            Some(list) => {
                *list = front.list;
                CKR_OK
            }
        }
    })
}

/// Lists the interfaces: the standard ones that the module behind has, whatever its version. A vendor's own are left out:
/// calls would pass through them unseen.
///
/// # Safety
/// `count` points to a number, and `list`, unless it is null, to so many interfaces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterfaceList(list: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    answer(Function::C_GetInterfaceList, &|front| {
        // SAFETY: the caller's promise, and no more is written than he says there is room for.
        unsafe {
            let Some(count) = count.as_mut() else { return CKR_ARGUMENTS_BAD };
            let room = std::mem::replace(count, front.interfaces.len() as CK_ULONG);
            if list.is_null() {
                return CKR_OK;
            }
            if room < *count {
                return CKR_BUFFER_TOO_SMALL;
            }
            list.copy_from_nonoverlapping(front.interfaces.as_ptr(), front.interfaces.len());
        }
        CKR_OK
    })
}

/// Where a program begins that knows version 3.0.
///
/// # Safety
/// `name` is a C string or null, `version` points to a version or is null, `interface` to where a pointer can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    answer(Function::C_GetInterface, &|front| {
        // SAFETY: the caller's promise; ours are made of live lists.
        unsafe {
            let Some(interface) = interface.as_mut() else { return CKR_ARGUMENTS_BAD };
            if !name.is_null() && CStr::from_ptr(name.cast()) != STANDARD {
                return CKR_FUNCTION_FAILED;
            }
            let wanted = version.as_ref();
            let found = front.interfaces.iter().find(|ours| {
                let its = *ours.pFunctionList.cast::<CK_VERSION>();
                ours.flags & flags == flags
                    && wanted.is_none_or(|wanted| (wanted.major, wanted.minor) == (its.major, its.minor))
            });
            let Some(found) = found else { return CKR_FUNCTION_FAILED };
            *interface = std::ptr::from_ref(found).cast_mut();
        }
        CKR_OK
    })
}

/// Answers under the rules, as any function. What these functions are given is only looked at by their answer.
fn answer(function: Function, answer: &dyn Fn(&Front) -> CK_RV) -> CK_RV {
    match front() {
        Ok(front) => engine::run(function, &Words::NONE, |_| answer(front)),
        Err(why) => {
            log::complain(why);
            CKR_GENERAL_ERROR
        }
    }
}

fn front() -> Result<&'static Front, &'static str> {
    static FRONT: OnceLock<Front> = OnceLock::new();
    let behind = behind()?;
    Ok(FRONT.get_or_init(|| make(behind)))
}

fn make(behind: &Behind) -> Front {
    let interfaces = behind.offers.iter().map(|&(version, flags)| CK_INTERFACE {
        pInterfaceName: STANDARD.as_ptr().cast_mut().cast(),
        pFunctionList: list(version),
        flags,
    });
    Front { interfaces: interfaces.collect(), list: leaked(function::list_2_40(behind.own.version)).cast() }
}

/// Our functions in the list of a version.
fn list(version: CK_VERSION) -> *mut c_void {
    match (version.major, version.minor) {
        (..=2, _) => leaked::<CK_FUNCTION_LIST>(function::list_2_40(version)),
        (3, 0 | 1) => leaked::<CK_FUNCTION_LIST_3_0>(function::list_3_0(version)),
        _ => leaked::<CK_FUNCTION_LIST_3_2>(function::list_3_2(version)),
    }
}

fn leaked<T>(list: T) -> *mut c_void {
    std::ptr::from_mut(Box::leak(Box::new(list))).cast()
}

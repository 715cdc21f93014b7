//! A PKCS#11 module that passes every call on to another one and lies about some of the answers: for the tests of what
//! Chancery does with a token that lies (`tests/real_token/lies.rs`). It is an example only because cargo builds those
//! along with the tests, and can build one as a shared library.
//!
//! | environment variable | |
//! |---|---|
//! | `LYING_MODULE_BEHIND` | path of the module that does the work |
//! | `LYING_MODULE_LIE` | `sign`: one bit of a signature or MAC is flipped; `verify-no`: no signature is valid; `verify-yes`: each one is; `random`: all bytes are zero |
//! | `LYING_MODULE_TIMES` | how many lies are told in the life of a process |

#![allow(unsafe_code, reason = "PKCS#11 is a C interface, and this is the other side of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "for tests: a module that cannot do what it is for takes its process down"
)]

use cryptoki_sys::{
    CK_BYTE, CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKR_OK, CKR_SIGNATURE_INVALID, Pkcs11,
};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The functions of the module behind, and ours in front of them.
struct Modules {
    behind: CK_FUNCTION_LIST,
    front: CK_FUNCTION_LIST,
}

/// Where everything begins: the standard's one function that a module must export.
///
/// # Safety
/// `list` points to where a pointer can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let front: *const CK_FUNCTION_LIST = &raw const modules().front;
    // SAFETY: the caller's promise. Nobody writes to a module's list, whatever the pointer's type says.
    unsafe { list.write(front.cast_mut()) };
    CKR_OK
}

fn modules() -> &'static Modules {
    static MODULES: OnceLock<Modules> = OnceLock::new();
    MODULES.get_or_init(|| {
        let path = std::env::var_os("LYING_MODULE_BEHIND").expect("LYING_MODULE_BEHIND names a module");
        let mut list = null_mut();
        // SAFETY: the path names a PKCS#11 module, which keeps its list for as long as it is loaded: until the end.
        let behind = unsafe {
            let library = Box::leak(Box::new(Pkcs11::new(path).expect("the module can be loaded")));
            assert_eq!(library.C_GetFunctionList(&raw mut list), CKR_OK);
            *list
        };
        let front = CK_FUNCTION_LIST {
            C_GetFunctionList: Some(C_GetFunctionList),
            C_Sign: Some(sign),
            C_Verify: Some(verify),
            C_GenerateRandom: Some(generate_random),
            ..behind
        };
        Modules { behind, front }
    })
}

/// Whether it is time for this lie.
fn is_told(lie: &str) -> bool {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let times = || std::env::var("LYING_MODULE_TIMES").unwrap().parse().unwrap();
    std::env::var("LYING_MODULE_LIE").unwrap() == lie && TOLD.fetch_add(1, Ordering::SeqCst) < times()
}

unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_length: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: passed on as it came. A signature that was given has at least one byte.
    unsafe {
        let result = modules().behind.C_Sign.unwrap()(session, data, data_length, signature, signature_length);
        if result == CKR_OK && !signature.is_null() && is_told("sign") {
            *signature ^= 0x10;
        }
        result
    }
}

unsafe extern "C" fn verify(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_length: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_length: CK_ULONG,
) -> CK_RV {
    // SAFETY: passed on as it came.
    let result = unsafe { modules().behind.C_Verify.unwrap()(session, data, data_length, signature, signature_length) };
    match result {
        CKR_OK if is_told("verify-no") => CKR_SIGNATURE_INVALID,
        CKR_SIGNATURE_INVALID if is_told("verify-yes") => CKR_OK,
        result => result,
    }
}

unsafe extern "C" fn generate_random(session: CK_SESSION_HANDLE, bytes: *mut CK_BYTE, length: CK_ULONG) -> CK_RV {
    // SAFETY: passed on as it came; as many bytes as the caller says are his to be written to.
    unsafe {
        let result = modules().behind.C_GenerateRandom.unwrap()(session, bytes, length);
        if result == CKR_OK && is_told("random") {
            bytes.write_bytes(0, usize::try_from(length).unwrap());
        }
        result
    }
}

//! The functions that the exported ones stand before.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The address of a function in the libraries behind this one; looked up once.
pub(crate) fn find(name: &CStr, known: &AtomicPtr<c_void>) -> *mut c_void {
    let found = known.load(Ordering::Relaxed);
    if !found.is_null() {
        return found;
    }
    // SAFETY: a name that ends with zero, which `dlsym` only reads.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        // Without the real call there is nothing left to do for the process.
        std::process::abort();
    }
    known.store(found, Ordering::Relaxed);
    found
}

/// The real function of a name, of the type that the C library gives it.
macro_rules! next {
    ($name:ident as fn($($argument:ty),*) -> $result:ty) => {{
        static KNOWN: std::sync::atomic::AtomicPtr<std::ffi::c_void> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        const NAME: &std::ffi::CStr =
            match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            };
        let found = $crate::next::find(NAME, &KNOWN);
        // SAFETY: the C library's function of this name has this type.
        unsafe { std::mem::transmute::<*mut std::ffi::c_void, unsafe extern "C" fn($($argument),*) -> $result>(found) }
    }};
}
pub(crate) use next;

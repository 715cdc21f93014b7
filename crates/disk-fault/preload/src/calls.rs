//! What the library exports: calls of the C library, under their own names.
//!
//! Each asks the rules if the file is one of the database's, and goes on to the real call if they let it.

use crate::engine::{Verdict, verdict};
use crate::files;
use crate::next::next;
use chancery_disk_fault::{At, Call, File};
use libc::{c_char, c_int, c_void, mode_t, off_t, off64_t, size_t, ssize_t};
use std::ffi::CStr;

fn set_errno(error: c_int) {
    // SAFETY: the C library's own place for it, of this thread.
    unsafe { *libc::__errno_location() = error };
}

/// Makes a call, or not; `failure` is what it answers when it fails.
fn may<T>(call: Call, file: Option<File>, failure: T, real: impl FnOnce() -> T) -> T {
    match file.map(|file| verdict(call, file)) {
        None | Some(Verdict::Go | Verdict::Short(_)) => real(),
        Some(Verdict::Fail(error, at)) => {
            if at == At::After {
                real();
            }
            set_errno(error);
            failure
        }
    }
}

/// The same for what is read or written: `real` is told how much of it.
fn transfer(call: Call, descriptor: c_int, length: size_t, real: impl FnOnce(size_t) -> ssize_t) -> ssize_t {
    match files::of_descriptor(descriptor).map(|file| verdict(call, file)) {
        None | Some(Verdict::Go) => real(length),
        Some(Verdict::Short(bytes)) => real(length.min(bytes)),
        Some(Verdict::Fail(error, at)) => {
            if at == At::After {
                real(length);
            }
            set_errno(error);
            -1
        }
    }
}

/// # Safety
/// `path` is a path, as the caller of `open` promises.
unsafe fn opening(path: *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    let file = if path.is_null() {
        None
    } else {
        // SAFETY: the caller's promise.
        files::of_path(unsafe { CStr::from_ptr(path) })
    };
    let descriptor = may(Call::Open, file, -1, real);
    files::opened(descriptor, file);
    descriptor
}

// In C `open` takes a third argument if its flags ask for one. On the systems of Linux it is passed as it is to a function of
// three, and one that was not given is not looked at behind.
macro_rules! export_open {
    ($($name:ident),+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            let real = next!($name as fn(*const c_char, c_int, mode_t) -> c_int);
            // SAFETY: the caller's promises are those of the real call.
            unsafe { opening(path, || real(path, flags, mode)) }
        }
    )+ };
}
export_open!(open, open64);

macro_rules! export_openat {
    ($($name:ident),+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            let real = next!($name as fn(c_int, *const c_char, c_int, mode_t) -> c_int);
            // SAFETY: the caller's promises are those of the real call.
            unsafe { opening(path, || real(folder, path, flags, mode)) }
        }
    )+ };
}
export_openat!(openat, openat64);

/// The descriptor is gone afterwards, whatever the answer is: so it is on Linux.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    let real = next!(close as fn(c_int) -> c_int);
    let Some(file) = files::of_descriptor(descriptor) else {
        // SAFETY: the caller's promises are those of the real call.
        return unsafe { real(descriptor) };
    };
    let verdict = verdict(Call::Close, file);
    // Before it is closed: another thread may be given the same number at once.
    files::opened(descriptor, None);
    // SAFETY: as above.
    let closed = unsafe { real(descriptor) };
    match verdict {
        Verdict::Go | Verdict::Short(_) => closed,
        Verdict::Fail(error, _) => {
            set_errno(error);
            -1
        }
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(descriptor: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    let real = next!(read as fn(c_int, *mut c_void, size_t) -> ssize_t);
    // SAFETY: the caller's promises are those of the real call.
    transfer(Call::Read, descriptor, length, |length| unsafe { real(descriptor, buffer, length) })
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(descriptor: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    let real = next!(write as fn(c_int, *const c_void, size_t) -> ssize_t);
    // SAFETY: the caller's promises are those of the real call.
    transfer(Call::Write, descriptor, length, |length| unsafe { real(descriptor, buffer, length) })
}

macro_rules! export_at {
    ($($name:ident: $call:ident, $buffer:ty, $offset:ty;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(descriptor: c_int, buffer: $buffer, length: size_t, offset: $offset) -> ssize_t {
            let real = next!($name as fn(c_int, $buffer, size_t, $offset) -> ssize_t);
            // SAFETY: the caller's promises are those of the real call.
            transfer(Call::$call, descriptor, length, |length| unsafe { real(descriptor, buffer, length, offset) })
        }
    )+ };
}
export_at! {
    pread: Read, *mut c_void, off_t;
    pread64: Read, *mut c_void, off64_t;
    pwrite: Write, *const c_void, off_t;
    pwrite64: Write, *const c_void, off64_t;
}

macro_rules! export_sync {
    ($($name:ident),+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(descriptor: c_int) -> c_int {
            let real = next!($name as fn(c_int) -> c_int);
            // SAFETY: the caller's promises are those of the real call.
            may(Call::Fsync, files::of_descriptor(descriptor), -1, || unsafe { real(descriptor) })
        }
    )+ };
}
export_sync!(fsync, fdatasync);

macro_rules! export_truncate {
    ($($name:ident: $length:ty;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(descriptor: c_int, length: $length) -> c_int {
            let real = next!($name as fn(c_int, $length) -> c_int);
            // SAFETY: the caller's promises are those of the real call.
            may(Call::Ftruncate, files::of_descriptor(descriptor), -1, || unsafe { real(descriptor, length) })
        }
    )+ };
}
export_truncate! {
    ftruncate: off_t;
    ftruncate64: off64_t;
}

macro_rules! export_fallocate {
    ($($name:ident: $length:ty;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(descriptor: c_int, mode: c_int, offset: $length, length: $length) -> c_int {
            let real = next!($name as fn(c_int, c_int, $length, $length) -> c_int);
            let file = files::of_descriptor(descriptor);
            // SAFETY: the caller's promises are those of the real call.
            may(Call::Fallocate, file, -1, || unsafe { real(descriptor, mode, offset, length) })
        }
    )+ };
}
export_fallocate! {
    fallocate: off_t;
    fallocate64: off64_t;
}

macro_rules! export_posix_fallocate {
    ($($name:ident: $length:ty;)+) => { $(
        /// Answers the error itself.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(descriptor: c_int, offset: $length, length: $length) -> c_int {
            let real = next!($name as fn(c_int, $length, $length) -> c_int);
            match files::of_descriptor(descriptor).map(|file| verdict(Call::Fallocate, file)) {
                // SAFETY: the caller's promises are those of the real call.
                None | Some(Verdict::Go | Verdict::Short(_)) => unsafe { real(descriptor, offset, length) },
                Some(Verdict::Fail(error, _)) => error,
            }
        }
    )+ };
}
export_posix_fallocate! {
    posix_fallocate: off_t;
    posix_fallocate64: off64_t;
}

macro_rules! export_mmap {
    ($($name:ident: $offset:ty;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            address: *mut c_void,
            length: size_t,
            protection: c_int,
            flags: c_int,
            descriptor: c_int,
            offset: $offset,
        ) -> *mut c_void {
            let real = next!($name as fn(*mut c_void, size_t, c_int, c_int, c_int, $offset) -> *mut c_void);
            may(Call::Mmap, files::of_descriptor(descriptor), libc::MAP_FAILED, || {
                // SAFETY: the caller's promises are those of the real call.
                unsafe { real(address, length, protection, flags, descriptor, offset) }
            })
        }
    )+ };
}
export_mmap! {
    mmap: off_t;
    mmap64: off64_t;
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let real = next!(unlink as fn(*const c_char) -> c_int);
    let file = if path.is_null() {
        None
    } else {
        // SAFETY: the caller's promise: a path.
        files::of_path(unsafe { CStr::from_ptr(path) })
    };
    // SAFETY: as above.
    may(Call::Unlink, file, -1, || unsafe { real(path) })
}

//! What a worker does with itself as a process, and every `unsafe` of this crate.

use crate::keep_memory_private;
use crate::wire::CONTROL_FD;
use socket2::{SockRef, Socket};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Leaves at once. No atexit handler runs: SoftHSM often crashes in those of OpenSSL.
#[allow(unsafe_code, reason = "std::process::exit runs atexit handlers; std offers no other way out")]
pub(super) fn leave(status: i32) -> ! {
    // SAFETY: _exit takes any status, touches no memory of ours and does not return.
    unsafe { libc::_exit(status) }
}

/// Makes the process a poor source of secrets and deaf to signals.
///
/// A terminal and a service manager send their signals to the worker too, while the service still drains and needs
/// it; and an early end while a key is being made can destroy a SoftHSM token. The worker leaves when the service
/// lets go of the control socket, and in no other orderly way.
///
/// This comes before the task, which brings the PIN, and before the module, so that its constructors and threads are
/// bound by it too. No module gets to start a set-uid helper: those of its vendor run as services of their own.
#[allow(unsafe_code, reason = "signal dispositions have no safe interface in std")]
pub(super) fn harden() -> io::Result<()> {
    keep_memory_private()?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: SIG_IGN installs no handler of ours, so no code runs in signal context.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has the kernel refuse this process more private memory than this (RLIMIT_DATA: heap and private mappings that can be
/// written), soft and hard: a module that leaks faster than anybody looks is told that there is no memory, and the rest of the
/// machine goes on. Only on Linux, where it counts mappings.
pub(super) fn limit_data(bytes: u64) -> io::Result<()> {
    if cfg!(target_os = "linux") {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_DATA, bytes, bytes)?;
    }
    Ok(())
}

/// Takes the control socket, which the service put at [`CONTROL_FD`].
///
/// # Errors
/// An [`io::Error`] where there is no socket: the hidden command was called by somebody else than the service.
pub(super) fn control_socket() -> io::Result<UnixStream> {
    inherited_socket(CONTROL_FD)
}

/// Takes the sockets of the lanes, which follow the control socket.
pub(super) fn lane_sockets(count: u32) -> io::Result<Vec<UnixStream>> {
    let count = i32::try_from(count).map_err(io::Error::other)?;
    (1..=count).map(|lane| inherited_socket(CONTROL_FD + lane)).collect()
}

#[allow(unsafe_code, reason = "an inherited descriptor is a bare number until somebody vouches for it")]
fn inherited_socket(descriptor: i32) -> io::Result<UnixStream> {
    // SAFETY: the borrow ends in the next statement; a number that is not open gives EBADF and nothing worse.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    SockRef::from(&borrowed).r#type()?;
    // SAFETY: it is an open socket, it was put there for us before this program began, and each number is taken once.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let socket = Socket::from(owned);
    // A module that starts programs of its own must not hand our sockets to them.
    socket.set_cloexec(true)?;
    socket.set_nonblocking(false)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

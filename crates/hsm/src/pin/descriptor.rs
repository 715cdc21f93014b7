//! A PIN that comes over a descriptor which this program inherited: a pipe from a secret store, for example.

use super::{Pin, PinError, PinOrigin};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::FD_CLOEXEC;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

/// Reads the descriptor to its end and closes it.
pub(super) fn read(number: u32) -> Result<Pin, PinError> {
    let origin = PinOrigin::Descriptor(number);
    let file = take(number).map_err(|source| PinError::Read { origin: origin.clone(), source })?;
    Pin::read_from(file, origin)
}

#[allow(unsafe_code, reason = "an inherited descriptor is a bare number until somebody vouches for it")]
fn take(number: u32) -> io::Result<File> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
    if matches!(number, 1 | 2) {
        return Err(refused("that is standard output or error"));
    }
    let number = i32::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the borrow ends in the next statement; a number that is not open gives EBADF and nothing worse.
    let flags = fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD)?;
    // What this program has opened itself closes on exec, and what it has inherited cannot.
    if flags & FD_CLOEXEC != 0 {
        return Err(refused("this program did not inherit it"));
    }
    // SAFETY: it is open, it was there before this program began, and nobody here owns it: descriptors 1 and 2 are refused,
    // and all that this program opens is marked. Number 0 is standard input, which nothing reads beside this.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::os::fd::{AsRawFd, IntoRawFd};

    fn number(file: &File) -> u32 {
        file.as_raw_fd().try_into().unwrap()
    }

    #[test]
    fn an_inherited_descriptor_is_read_and_closed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"1234\n").unwrap();
        file.rewind().unwrap();
        let inherited = nix::unistd::dup(&file).unwrap();
        let number = u32::try_from(inherited.into_raw_fd()).unwrap();
        assert_eq!(read(number).unwrap().expose(), "1234");
    }

    #[test]
    fn what_was_not_inherited_is_left_alone() {
        let mut file = tempfile::tempfile().unwrap();
        let error = read(number(&file)).unwrap_err().to_string();
        assert!(error.contains("did not inherit"), "{error}");
        file.write_all(b"still open").unwrap();
        for not_one in [1, 2, 999_999] {
            assert!(read(not_one).is_err(), "{not_one}");
        }
    }
}

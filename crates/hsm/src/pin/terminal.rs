//! A PIN that is typed: at the terminal of this process, which shows nothing of it.

use super::{MAX_PIN_BYTES, Pin, PinError, PinOrigin};
use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use zeroize::{Zeroize, Zeroizing};

/// The terminal that controls this process: standard input and output may go elsewhere.
const TERMINAL: &str = "/dev/tty";

/// What Ctrl-C, Ctrl-D, Ctrl-U, the backspace keys and the return key send while the terminal passes everything on.
const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: u8 = 8;
const KILL_LINE: u8 = 21;
const DELETE: u8 = 127;

/// Asks for a PIN.
pub(super) fn ask(question: &str) -> Result<Pin, PinError> {
    let failed = |source| PinError::Read { origin: PinOrigin::Terminal, source };
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(failed)?;
    let silent = Silent::new(&terminal).map_err(failed)?;
    // The question comes once nothing is shown any more: who types ahead is not echoed either.
    let typed = write!(&terminal, "{question}: ").and_then(|()| read_line(&mut &terminal));
    let ended = writeln!(&terminal);
    drop(silent);
    let typed = typed.and_then(|typed| ended.map(|()| typed)).map_err(failed)?;
    Pin::checked(typed, PinOrigin::Terminal)
}

/// A terminal that shows nothing and sends no signals, until this is dropped: interrupted in the middle, it would go on
/// showing nothing.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> io::Result<Silent<'a>> {
        let before = termios::tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG);
        for (place, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
            if let Some(character) = silent.control_chars.get_mut(place as usize) {
                *character = value;
            }
        }
        // What was typed before the question was asked is no answer to it.
        termios::tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _gone = termios::tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// Reads what is typed up to the return key, in a buffer that never grows and so leaves no copies.
fn read_line(terminal: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PIN_BYTES + 1));
    let mut byte = Zeroizing::new([0_u8]);
    loop {
        terminal.read_exact(byte.as_mut_slice())?;
        let [key] = *byte;
        match key {
            b'\n' | b'\r' => return Ok(line),
            INTERRUPT | END => return Err(io::Error::new(io::ErrorKind::Interrupted, "given up at the terminal")),
            BACKSPACE | DELETE => drop_last_character(&mut line),
            KILL_LINE => line.zeroize(),
            typed if line.len() <= MAX_PIN_BYTES => line.push(typed),
            // Too long already, and refused as that in the end.
            _ => {}
        }
    }
}

/// Takes back one character, which may be several bytes of UTF-8.
fn drop_last_character(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Result<Vec<u8>, io::ErrorKind> {
        read_line(&mut &*keys).map(|line| line.to_vec()).map_err(|error| error.kind())
    }

    #[test]
    fn a_line_ends_with_the_return_key_and_can_be_corrected() {
        assert_eq!(typed(b"1234\r"), Ok(b"1234".to_vec()));
        assert_eq!(typed(b"12\x7f34\n5"), Ok(b"134".to_vec()));
        assert_eq!(typed("1\u{e9}\u{8}2\n".as_bytes()), Ok(b"12".to_vec()));
        assert_eq!(typed(b"\x7f\x7f1\n"), Ok(b"1".to_vec()));
        assert_eq!(typed(b"wrong\x151234\n"), Ok(b"1234".to_vec()));
    }

    #[test]
    fn giving_up_is_no_pin() {
        assert_eq!(typed(b"12\x03"), Err(io::ErrorKind::Interrupted));
        assert_eq!(typed(b"\x04"), Err(io::ErrorKind::Interrupted));
        assert_eq!(typed(b"12"), Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn no_more_is_kept_than_a_pin_has() {
        let keys = [vec![b'1'; MAX_PIN_BYTES + 100], b"\n".to_vec()].concat();
        assert_eq!(typed(&keys).unwrap().len(), MAX_PIN_BYTES + 1);
    }
}

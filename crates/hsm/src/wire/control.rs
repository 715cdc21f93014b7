//! Control frames: postcard, on either end.

use super::{LENGTH_BYTES, broken};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// Far above what a token with 100,000 objects lists.
const MAX_CONTROL_FRAME_BYTES: usize = 64 << 20;

/// A control frame: the buffer is wiped, since it may hold a PIN, and never grows, which would leave copies.
pub(crate) fn encode_control(message: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = postcard::experimental::serialized_size(message).map_err(io::Error::other)?;
    let mut frame = Zeroizing::new(vec![0; LENGTH_BYTES + length]);
    let (head, body) = frame.split_at_mut(LENGTH_BYTES);
    head.copy_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    postcard::to_slice(message, body).map_err(io::Error::other)?;
    Ok(frame)
}

/// The length in a control frame's head.
pub(crate) fn control_length(head: [u8; LENGTH_BYTES]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(head)).map_err(io::Error::other)?;
    if length > MAX_CONTROL_FRAME_BYTES { Err(broken("a control frame is too long")) } else { Ok(length) }
}

/// Reads the body of a control frame.
pub(crate) fn decode_control<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    postcard::from_bytes(body).map_err(io::Error::other)
}

/// Writes a control frame to a blocking socket.
pub(crate) fn write_control(mut socket: impl Write, message: &impl Serialize) -> io::Result<()> {
    socket.write_all(&encode_control(message)?)
}

/// Reads a control frame from a blocking socket; `None` where the other end is gone.
pub(crate) fn read_control<T: DeserializeOwned>(mut socket: impl Read) -> io::Result<Option<T>> {
    let mut head = [0; LENGTH_BYTES];
    match socket.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let mut body = Zeroizing::new(vec![0; control_length(head)?]);
    socket.read_exact(&mut body)?;
    decode_control(&body).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pin;
    use crate::wire::{Serve, Task, TokenAddress};

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        assert!(control_length(u32::MAX.to_le_bytes()).is_err());
    }

    #[test]
    fn a_task_brings_its_pin() {
        let token = TokenAddress {
            module: "/m.so".into(),
            label: "l".to_owned(),
            serial: None,
            seen_serial: None,
            pin: Pin::new(Zeroizing::new("1234".to_owned())),
            lock_dir: "/d".into(),
        };
        let task =
            Serve { token, lanes: 2, keepalive_milliseconds: 10_000, data_limit_bytes: 1 << 30, clear_latch: false };
        let mut socket = Vec::new();
        write_control(&mut socket, &Task::Serve(task)).unwrap();
        let Some(Task::Serve(serve)) = read_control(socket.as_slice()).unwrap() else { panic!("no task") };
        assert_eq!((serve.token.pin.expose(), serve.lanes), ("1234", 2));
        assert!(read_control::<Task>([].as_slice()).unwrap().is_none());
    }
}

//! The frames of a lane.
//!
//! | request | bytes | | reply | bytes |
//! |---|---|---|---|---|
//! | algorithm | 1: index into [`Algorithm::ALL`] | | status | 1: 0 signed, 1 failed |
//! | flags | 1: bit 0: on a fresh session | | then | the signature, or a [`WireFailure`] in postcard |
//! | uid | 16 | | | |
//! | input | the rest: DigestInfo, digest or message, as the mechanism takes it | | | |
//!
//! Replies come in the order of the requests, so nothing needs an id.

use super::{LENGTH_BYTES, WireFailure, algorithm_at, algorithm_index, broken};
use crate::MAX_DEVICE_MESSAGE_BYTES;
use chancery_model::{Algorithm, Uid};
use std::io;

const LANE_HEADER_BYTES: usize = 18;
const FRESH_SESSION: u8 = 1;

/// The largest request frame of a lane.
pub(crate) const MAX_LANE_FRAME_BYTES: usize = LENGTH_BYTES + LANE_HEADER_BYTES + MAX_DEVICE_MESSAGE_BYTES;

/// One signing request, as the worker reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LaneRequest<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) fresh_session: bool,
    pub(crate) uid: Uid,
    pub(crate) input: &'a [u8],
}

impl<'a> LaneRequest<'a> {
    /// The whole frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = LANE_HEADER_BYTES + self.input.len();
        let mut frame = Vec::with_capacity(LENGTH_BYTES + length);
        frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        frame.push(algorithm_index(self.algorithm));
        frame.push(if self.fresh_session { FRESH_SESSION } else { 0 });
        frame.extend_from_slice(self.uid.as_bytes());
        frame.extend_from_slice(self.input);
        frame
    }

    /// The body of a frame.
    pub(crate) fn decode(body: &'a [u8]) -> io::Result<Self> {
        let (header, input) =
            body.split_at_checked(LANE_HEADER_BYTES).ok_or_else(|| broken("a lane request is too short"))?;
        let [algorithm, flags, uid @ ..] = header else { return Err(broken("a lane request is too short")) };
        let uid = Uid::try_from(uid).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self { algorithm: algorithm_at(*algorithm)?, fresh_session: flags & FRESH_SESSION != 0, uid, input })
    }
}

/// The answer to a [`LaneRequest`].
pub(crate) type LaneReply = Result<Vec<u8>, WireFailure>;

/// Appends the frame of a reply to `out`.
pub(crate) fn encode_lane_reply(reply: &LaneReply, out: &mut Vec<u8>) -> io::Result<()> {
    let mut append = |status: u8, payload: &[u8]| {
        let length = u32::try_from(1 + payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.push(status);
        out.extend_from_slice(payload);
    };
    match reply {
        Ok(signature) => append(0, signature),
        Err(failure) => append(1, &postcard::to_stdvec(failure).map_err(io::Error::other)?),
    }
    Ok(())
}

/// Reads the body of a reply.
pub(crate) fn decode_lane_reply(body: &[u8]) -> io::Result<LaneReply> {
    match body.split_first() {
        Some((0, signature)) => Ok(Ok(signature.to_vec())),
        Some((1, failure)) => postcard::from_bytes(failure).map(Err).map_err(io::Error::other),
        _ => Err(broken("a lane reply has no status")),
    }
}

/// Takes the bodies of whole frames out of a byte stream.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameBuffer {
    /// Adds what was read.
    pub(crate) fn extend(&mut self, read: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > MAX_LANE_FRAME_BYTES {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(read);
    }

    /// The next frame's body, if it is all there.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_LANE_FRAME_BYTES {
            return Err(broken("a lane frame is too long"));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.start += LENGTH_BYTES + length;
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HsmErrorKind;

    #[test]
    fn lane_requests_survive_the_trip_even_in_pieces() {
        let input = vec![7; MAX_DEVICE_MESSAGE_BYTES];
        let uid = Uid::from_bytes([9; 16]);
        let long = LaneRequest { algorithm: Algorithm::Ed25519, fresh_session: true, uid, input: &input };
        let short = LaneRequest { algorithm: Algorithm::EcdsaP256Sha256, fresh_session: false, uid, input: &[1; 32] };
        let stream = [long.encode(), short.encode(), long.encode()].concat();
        let mut buffer = FrameBuffer::default();
        let mut seen = 0;
        for piece in stream.chunks(1_000) {
            buffer.extend(piece);
            while let Some(body) = buffer.next().unwrap() {
                let expected = if seen == 1 { &short } else { &long };
                assert_eq!(&LaneRequest::decode(body).unwrap(), expected);
                seen += 1;
            }
        }
        assert_eq!(seen, 3);
    }

    #[test]
    fn lane_replies_survive_the_trip() {
        let failure = WireFailure {
            kind: HsmErrorKind::Session,
            function: "C_Sign".to_owned(),
            return_code: Some(0xB3),
            message: "m".to_owned(),
            retry: true,
            replace: false,
        };
        let mut out = Vec::new();
        for reply in [Ok(vec![1, 2, 3]), Err(failure.clone())] {
            encode_lane_reply(&reply, &mut out).unwrap();
        }
        let mut buffer = FrameBuffer::default();
        buffer.extend(&out);
        assert_eq!(decode_lane_reply(buffer.next().unwrap().unwrap()).unwrap(), Ok(vec![1, 2, 3]));
        assert_eq!(decode_lane_reply(buffer.next().unwrap().unwrap()).unwrap(), Err(failure.clone()));
        assert_eq!(failure.into_failure().function, Some("C_Sign"));
    }

    #[test]
    fn frames_that_no_worker_would_send_are_refused() {
        let mut buffer = FrameBuffer::default();
        buffer.extend(&u32::MAX.to_le_bytes());
        assert!(buffer.next().is_err());
        assert!(LaneRequest::decode(&[0; LANE_HEADER_BYTES - 1]).is_err());
        assert!(LaneRequest::decode(&[200; LANE_HEADER_BYTES]).is_err());
        assert!(decode_lane_reply(&[]).is_err());
    }
}

//! The frames of a lane.
//!
//! | request | bytes | | reply | bytes |
//! |---|---|---|---|---|
//! | operation | 1: see [`Operation`] | | status | 1: 0 done, 1 failed |
//! | flags | 1: bit 0: on a fresh session | | then | what was asked for, or a [`WireFailure`] in postcard |
//! | algorithm | 1: index into [`Algorithm::ALL`] | | | |
//! | length of the id | 1 | | | |
//! | id | as long | CKA_ID; none for random bytes | | |
//! | the rest | as the operation says | | | |
//!
//! | operation | the rest of the request | the reply |
//! |---|---|---|
//! | 0 sign | DigestInfo, digest or message, as the mechanism takes it | the signature |
//! | 1 MAC | the message | the MAC |
//! | 2 verify a MAC | length of the MAC (1), MAC, message | 1: 0 wrong, 1 right |
//! | 3 random bytes | how many (2, little-endian); before it no algorithm, but zero, and no id | the bytes |
//!
//! Replies come in the order of the requests, so nothing needs an id.

use super::{LENGTH_BYTES, WireFailure, algorithm_at, algorithm_index, broken};
use crate::MAX_DEVICE_MESSAGE_BYTES;
use chancery_model::{Algorithm, TokenObjectId};
use std::io;

/// Operation, flags, algorithm, length of the id.
const LANE_HEADER_BYTES: usize = 4;
const FRESH_SESSION: u8 = 1;

const SIGN: u8 = 0;
const MAC: u8 = 1;
const VERIFY_MAC: u8 = 2;
const RANDOM: u8 = 3;

/// Longest MAC that a frame holds: its length is one byte.
const MOST_MAC_BYTES: usize = 255;

/// The largest request frame of a lane.
pub(crate) const MAX_LANE_FRAME_BYTES: usize =
    LENGTH_BYTES + LANE_HEADER_BYTES + TokenObjectId::MOST_BYTES + 1 + MOST_MAC_BYTES + MAX_DEVICE_MESSAGE_BYTES;

/// One request, as the worker reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneRequest<'a> {
    pub(crate) fresh_session: bool,
    pub(crate) operation: Operation<'a>,
}

/// What a lane is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// Sign with a private key: DigestInfo, digest or message, as the mechanism takes it.
    Sign { algorithm: Algorithm, id: TokenObjectId, input: &'a [u8] },
    /// Make a MAC with a secret key, and check it.
    Mac { algorithm: Algorithm, id: TokenObjectId, message: &'a [u8] },
    /// Check a MAC with a secret key.
    VerifyMac { algorithm: Algorithm, id: TokenObjectId, mac: &'a [u8], message: &'a [u8] },
    /// Get random bytes.
    Random { length: u16 },
}

impl Operation<'_> {
    /// The key that is used, if one is.
    pub(crate) fn id(&self) -> Option<TokenObjectId> {
        match self {
            Self::Sign { id, .. } | Self::Mac { id, .. } | Self::VerifyMac { id, .. } => Some(*id),
            Self::Random { .. } => None,
        }
    }

    /// Whether something comes to be that would not exist without the key: then it matters whether it was done.
    pub(crate) const fn uses_the_key_to_sign(&self) -> bool {
        match self {
            Self::Sign { .. } | Self::Mac { .. } => true,
            Self::VerifyMac { .. } | Self::Random { .. } => false,
        }
    }

    /// For logs.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "sign",
            Self::Mac { .. } => "mac",
            Self::VerifyMac { .. } => "verify-mac",
            Self::Random { .. } => "random",
        }
    }
}

impl<'a> LaneRequest<'a> {
    /// The whole frame. A MAC has at most 255 bytes: others are told apart before.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let count;
        let mac_length;
        let (code, algorithm, parts): (u8, u8, [&[u8]; 3]) = match self.operation {
            Operation::Sign { algorithm, id: _, input } => (SIGN, algorithm_index(algorithm), [input, &[], &[]]),
            Operation::Mac { algorithm, id: _, message } => (MAC, algorithm_index(algorithm), [message, &[], &[]]),
            Operation::VerifyMac { algorithm, id: _, mac, message } => {
                // A longer one would be cut short, and the worker finds it wrong by its length.
                let mac = mac.get(..MOST_MAC_BYTES).unwrap_or(mac);
                mac_length = [u8::try_from(mac.len()).unwrap_or(u8::MAX)];
                (VERIFY_MAC, algorithm_index(algorithm), [&mac_length, mac, message])
            }
            Operation::Random { length } => {
                count = length.to_le_bytes();
                (RANDOM, 0, [&count, &[], &[]])
            }
        };
        let id = self.operation.id();
        let id = id.as_ref().map_or::<&[u8], _>(&[], TokenObjectId::as_bytes);
        let length = LANE_HEADER_BYTES + id.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut frame = Vec::with_capacity(LENGTH_BYTES + length);
        frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        frame.push(code);
        frame.push(if self.fresh_session { FRESH_SESSION } else { 0 });
        frame.push(algorithm);
        frame.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
        frame.extend_from_slice(id);
        for part in parts {
            frame.extend_from_slice(part);
        }
        frame
    }

    /// The body of a frame.
    pub(crate) fn decode(body: &'a [u8]) -> io::Result<Self> {
        let too_short = || broken("a lane request is too short");
        let (header, rest) = body.split_at_checked(LANE_HEADER_BYTES).ok_or_else(too_short)?;
        let [code, flags, algorithm, id_length] = header else { return Err(too_short()) };
        let (id, rest) = rest.split_at_checked(usize::from(*id_length)).ok_or_else(too_short)?;
        let id = || TokenObjectId::try_from(id).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        let algorithm = algorithm_at(*algorithm)?;
        let operation = match *code {
            SIGN => Operation::Sign { algorithm, id: id()?, input: rest },
            MAC => Operation::Mac { algorithm, id: id()?, message: rest },
            VERIFY_MAC => {
                let (length, rest) = rest.split_first().ok_or_else(too_short)?;
                let (mac, message) = rest.split_at_checked(usize::from(*length)).ok_or_else(too_short)?;
                Operation::VerifyMac { algorithm, id: id()?, mac, message }
            }
            RANDOM => {
                let Ok(count) = rest.try_into() else {
                    return Err(broken("a request for random bytes does not say how many"));
                };
                Operation::Random { length: u16::from_le_bytes(count) }
            }
            _ => return Err(broken("a lane request asks for something unknown")),
        };
        Ok(Self { fresh_session: flags & FRESH_SESSION != 0, operation })
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
        let ids = [[9_u8; 64].as_slice(), &[9; 16], &[9]].map(|id| TokenObjectId::try_from(id).unwrap());
        let [longest, id, shortest] = ids;
        let algorithm = Algorithm::HmacSha512;
        let requests = [
            Operation::Sign { algorithm: Algorithm::Ed25519, id: longest, input: &input },
            Operation::Sign { algorithm: Algorithm::EcdsaP256Sha256, id, input: &[1; 32] },
            Operation::Mac { algorithm, id, message: &input },
            Operation::Mac { algorithm, id: shortest, message: &[] },
            Operation::VerifyMac { algorithm, id, mac: &[3; 64], message: &input },
            Operation::VerifyMac { algorithm, id: longest, mac: &[3; MOST_MAC_BYTES], message: &input },
            Operation::VerifyMac { algorithm, id, mac: &[], message: &[] },
            Operation::Random { length: 1_024 },
        ];
        let requests = requests.into_iter().enumerate();
        let requests: Vec<_> =
            requests.map(|(number, operation)| LaneRequest { fresh_session: number % 2 == 0, operation }).collect();
        let stream = requests.iter().flat_map(LaneRequest::encode).collect::<Vec<_>>();
        let mut buffer = FrameBuffer::default();
        let mut expected = requests.iter();
        for piece in stream.chunks(1_000) {
            buffer.extend(piece);
            while let Some(body) = buffer.next().unwrap() {
                assert_eq!(Some(&LaneRequest::decode(body).unwrap()), expected.next());
            }
        }
        assert_eq!(expected.next(), None);
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
            no_session: false,
            cause: None,
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
        for (code, algorithm, rest) in [
            (SIGN, 200, [].as_slice()),
            (4, 0, &[]),
            (VERIFY_MAC, 0, &[]),
            (VERIFY_MAC, 0, &[2, 0]),
            (RANDOM, 0, &[1]),
            (RANDOM, 0, &[1, 0, 0]),
        ] {
            let body = [[code, 0, algorithm, 16].as_slice(), &[0; 16], rest].concat();
            assert!(LaneRequest::decode(&body).is_err(), "{body:?}");
        }
        for (id_length, id) in [(0, 0), (65, 65), (16, 15)] {
            let body = [[SIGN, 0, 0, id_length].as_slice(), &vec![0; id]].concat();
            assert!(LaneRequest::decode(&body).is_err(), "an id of {id_length} bytes, {id} of them there");
        }
        assert!(decode_lane_reply(&[]).is_err());
    }
}

//! What service and worker say to each other, and how it looks on a socket.
//!
//! Both ends are the same program, so nothing here is versioned. Every frame begins with the length of what follows
//! (u32, little-endian). Control frames hold postcard; the frames of a lane are laid out by hand, since signing
//! passes through here:
//!
//! | request | bytes | | reply | bytes |
//! |---|---|---|---|---|
//! | algorithm | 1: index into [`Algorithm::ALL`] | | status | 1: 0 signed, 1 failed |
//! | flags | 1: bit 0: on a fresh session | | then | the signature, or a [`WireFailure`] in postcard |
//! | uid | 16 | | | |
//! | input | the rest: DigestInfo, digest or message, as the mechanism takes it | | | |
//!
//! Replies in a lane come in the order of the requests, so nothing needs an id.

use crate::key::{KeyAttributes, TokenObject};
use crate::{HsmErrorKind, HsmFailure, MAX_DEVICE_MESSAGE_BYTES, Pin};
use chancery_model::{Algorithm, Uid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Descriptor of the control socket in the worker; the lanes follow.
pub(crate) const CONTROL_FD: i32 = 3;

const LENGTH_BYTES: usize = 4;
const LANE_HEADER_BYTES: usize = 18;
/// The largest request frame of a lane.
pub(crate) const MAX_LANE_FRAME_BYTES: usize = LENGTH_BYTES + LANE_HEADER_BYTES + MAX_DEVICE_MESSAGE_BYTES;
/// Far above what a token with 100,000 objects lists.
const MAX_CONTROL_FRAME_BYTES: usize = 64 << 20;
const FRESH_SESSION: u8 = 1;

/// What a new worker is for; the first frame on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    Serve(Serve),
    Initialise(Initialise),
    Measure(Measure),
}

/// Hold a token and sign.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serve {
    pub(crate) token: TokenAddress,
    /// Sockets that follow the control socket.
    pub(crate) lanes: u32,
}

/// Where a token is found and what opens it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TokenAddress {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) serial: Option<String>,
    pub(crate) pin: Pin,
    pub(crate) lock_dir: PathBuf,
}

/// Make a new token in an uninitialised slot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Initialise {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) so_pin: Pin,
    pub(crate) user_pin: Pin,
    pub(crate) lock_dir: PathBuf,
}

/// Sign as fast as the token goes, with a session key pair.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) token: TokenAddress,
    pub(crate) algorithm: u8,
    pub(crate) threads: u32,
    pub(crate) milliseconds: u64,
}

/// The first answer of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Started {
    Serving(TokenFacts),
    Initialised { serial: String },
    Measured { signatures: u64, nanoseconds: u64 },
    Failed(WireFailure),
}

/// What a worker learned about its token.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct TokenFacts {
    pub(crate) label: String,
    pub(crate) serial: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) firmware_version: String,
    pub(crate) hardware_version: String,
    pub(crate) sessions_max: Option<u64>,
    pub(crate) mechanisms: Vec<MechanismFact>,
    /// Curves on which a key pair could be made, by [`crate::offer::curve_name`].
    pub(crate) curves: HashSet<String>,
    /// Lanes that got a session; the rest of the sockets is not served.
    pub(crate) lanes: u32,
}

/// One mechanism of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MechanismFact {
    /// For example `CKM_ECDSA`.
    pub(crate) name: String,
    /// Smallest and largest key in bits.
    pub(crate) min_bits: u64,
    pub(crate) max_bits: u64,
    pub(crate) signs: bool,
    pub(crate) generates_pairs: bool,
}

/// Everything but signing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ControlRequest {
    Generate { uid: [u8; 16], label: String, algorithm: u8 },
    Inspect { uid: [u8; 16], algorithm: u8 },
    Destroy { uid: [u8; 16] },
    List,
    Health,
}

/// The answer to a [`ControlRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ControlReply {
    Key(WireKey),
    Incomplete { private: u64, public: u64 },
    Destroyed(u64),
    Objects(Vec<TokenObject>),
    Healthy { sessions_open: u64 },
    Failed(WireFailure),
}

/// A complete key pair.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireKey {
    pub(crate) uid: [u8; 16],
    pub(crate) spki_der: Vec<u8>,
    pub(crate) attributes: KeyAttributes,
}

/// An [`HsmFailure`] on its way, and what the worker wants done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireFailure {
    pub(crate) kind: HsmErrorKind,
    pub(crate) function: String,
    pub(crate) return_code: Option<u64>,
    pub(crate) message: String,
    /// The same signature may be asked for once more.
    pub(crate) retry: bool,
    /// The worker asks to be replaced.
    pub(crate) replace: bool,
}

impl WireFailure {
    pub(crate) fn into_failure(self) -> HsmFailure {
        HsmFailure {
            kind: self.kind,
            function: function_name(&self.function),
            return_code: self.return_code,
            attempts: 1,
            message: self.message,
        }
    }
}

/// The functions that a worker calls; their names outlive the frames that they come in.
static FUNCTIONS: &[&str] = &[
    "C_GetInterface",
    "C_GetFunctionList",
    "C_Initialize",
    "C_Finalize",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_GetSessionInfo",
    "C_Login",
    "C_CreateObject",
    "C_DestroyObject",
    "C_GetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_SignInit",
    "C_Sign",
    "C_GenerateKeyPair",
];

fn function_name(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().copied().find(|known| *known == name)
}

/// The place of an algorithm in [`Algorithm::ALL`].
pub(crate) fn algorithm_index(algorithm: Algorithm) -> u8 {
    let index = Algorithm::ALL.iter().position(|known| *known == algorithm);
    // An algorithm that is missing from ALL would get an index that the other end refuses.
    index.and_then(|index| u8::try_from(index).ok()).unwrap_or(u8::MAX)
}

/// The algorithm at a place of [`Algorithm::ALL`].
pub(crate) fn algorithm_at(index: u8) -> io::Result<Algorithm> {
    Algorithm::ALL.get(usize::from(index)).copied().ok_or_else(|| broken("a frame names no algorithm"))
}

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

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

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
        assert!(control_length(u32::MAX.to_le_bytes()).is_err());
    }

    #[test]
    fn a_task_brings_its_pin() {
        let token = TokenAddress {
            module: "/m.so".into(),
            label: "l".to_owned(),
            serial: None,
            pin: Pin::new(Zeroizing::new("1234".to_owned())),
            lock_dir: "/d".into(),
        };
        let mut socket = Vec::new();
        write_control(&mut socket, &Task::Serve(Serve { token, lanes: 2 })).unwrap();
        let Some(Task::Serve(serve)) = read_control(socket.as_slice()).unwrap() else { panic!("no task") };
        assert_eq!((serve.token.pin.expose(), serve.lanes), ("1234", 2));
        assert!(read_control::<Task>([].as_slice()).unwrap().is_none());
    }
}

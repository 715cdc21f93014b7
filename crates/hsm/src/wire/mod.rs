//! What service and worker say to each other, and how it looks on a socket.
//!
//! Both ends are the same program, so nothing here is versioned. Every frame begins with the length of what follows
//! (u32, little-endian). Control frames hold postcard ([`control`]); the frames of a lane are laid out by hand
//! ([`lane`]), since signing passes through there.

mod control;
mod lane;
mod message;

pub(crate) use control::{control_length, decode_control, encode_control, read_control, write_control};
pub(crate) use lane::{
    FrameBuffer, LaneReply, LaneRequest, MAX_LANE_FRAME_BYTES, Operation, decode_lane_reply, encode_lane_reply,
};
pub(crate) use message::{
    ChangePin, ControlReply, ControlRequest, Examine, Initialise, ListSlots, Measure, MechanismFact, MechanismFlag,
    Reinitialise, Serve, Started, Task, TokenAddress, TokenFacts, WireAdopted, WireFailure, WireFound, WireKey,
};

use chancery_model::Algorithm;
use std::io;

/// Descriptor of the control socket in the worker; the lanes follow.
pub(crate) const CONTROL_FD: i32 = 3;

/// Length of the length that a frame begins with.
const LENGTH_BYTES: usize = 4;

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

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

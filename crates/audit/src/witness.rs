//! Witnesses: what they are asked (C2SP tlog-witness, <https://c2sp.org/tlog-witness>), and how many of them a checkpoint
//! needs. Out of scope: how they are reached.

mod add_checkpoint;
mod policy;

pub use add_checkpoint::{AddCheckpoint, AddCheckpointError, MAX_ADD_CHECKPOINT_BYTES, MAX_PROOF_LINES};
pub use policy::{InvalidWitnessPolicy, NotWitnessed, WitnessPolicy};

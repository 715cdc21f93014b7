//! The transparency log from the outside: tree, tiles, notes, checkpoints and proofs, against what specifications and other
//! implementations publish, against a second implementation from RFC 6962 alone, and against whoever changes a bit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests are free to stop at the first surprise"
)]

mod checkpoint;
mod growing;
mod notaries;
mod note;
mod rfc6962;
mod tiles;
mod tlog_proof;
mod tree;

//! What policy promises, shown through the crate's public interface.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers stop at the first surprise"
)]

mod agreement;
mod cases;
mod deciding;
mod depth;
mod documentation;
mod explaining;
mod hashing;
mod refusals;
mod replaying;
mod reviewing;
mod roles;
mod speed;
mod succession;

//! The small witness over real HTTP and TLS, asked as the protocol says and as it does not; and what is made of the answers of
//! witnesses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

mod asking;
mod desk;
mod log;
mod serving;

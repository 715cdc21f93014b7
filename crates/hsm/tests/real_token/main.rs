//! The whole crate against a real token in software, each test with tokens of its own in a temporary directory.
//!
//! The worker processes are this test program itself: `worker_entry` is what the hidden command of `chancery` is.
//! No test kills a worker that logs in or makes a key: that can destroy a SoftHSM token, and proves nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod algorithms;
mod faults;
mod lies;
mod macs;
mod module_under_test;
mod ownership;
mod support;
mod wycheproof;

/// Not a test: what a worker process runs.
#[test]
#[ignore = "the entry point of worker processes"]
fn worker_entry() {
    chancery_hsm::worker::run()
}

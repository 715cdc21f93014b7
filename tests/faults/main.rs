//! Everything that a token can do wrong, made to happen under load, against a real service: each row of the table of return
//! codes in each function that a worker calls, once, on each tenth call, and always; crashes, lies, absence, hangs.
//!
//! Asserted each time: the answer, at most one retry, recovery, no wrong signature, a whole record, and that a caller of
//! another token does not notice. `CHANCERY_FAULTS=all` (`make faults`) leaves out nothing; `docs/reliability.md` says what
//! was found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod conditions;
mod coverage;
mod every;
mod generation;
mod lies;
mod login;
mod mending;
mod round;
mod secrets;
mod signatures;
mod starting;
mod table;

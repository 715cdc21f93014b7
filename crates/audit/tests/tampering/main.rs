//! What somebody changes who can write to the disk is found: in an export, and in the database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests are free to stop at the first surprise"
)]

mod archive;
mod callers;
mod cosigned;
mod database;
mod ends;
mod export;
#[allow(dead_code, reason = "shared with the tests of the formats")]
#[path = "../transparency/growing.rs"]
mod growing;
mod made;
mod mended;
#[allow(dead_code, reason = "shared with the tests of the formats")]
#[path = "../transparency/notaries.rs"]
mod notaries;
mod removed;
mod resumed;
#[path = "../support/mod.rs"]
mod support;

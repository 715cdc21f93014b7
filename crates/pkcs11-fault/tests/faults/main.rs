//! Each fault on a real token in software, through `cryptoki`: it shows as told, the log says so, and with the rule gone
//! all is well. On SoftHSM, and on Kryoptic where it is built.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod codes;
mod conditions;
mod lies;
mod pins;
mod process;
mod rules_file;
mod sessions;
mod support;

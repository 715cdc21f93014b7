//! The tests live in one file per feature beside this one.

#[path = "support/load.rs"]
pub mod load;

#[path = "support/contract.rs"]
pub mod contract;

#[path = "support/leaf.rs"]
pub mod leaf;

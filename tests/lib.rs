//! The tests live in one file per feature beside this one.

#[path = "support/load.rs"]
pub mod load;

#[path = "support/contract.rs"]
pub mod contract;

#[path = "support/leaf.rs"]
pub mod leaf;

#[path = "support/token_under_test.rs"]
pub mod token_under_test;

//! The tests live in one file per feature beside this one.

#[path = "support/load.rs"]
pub mod load;

#[path = "support/contract.rs"]
pub mod contract;

#[path = "support/proofs.rs"]
pub mod proofs;

#[path = "support/leaf.rs"]
pub mod leaf;

#[path = "support/token_under_test.rs"]
pub mod token_under_test;

#[path = "support/program.rs"]
pub mod program;

#[path = "support/collector.rs"]
pub mod collector;

#[path = "support/metrics_page.rs"]
pub mod metrics_page;

#[path = "support/promql.rs"]
pub mod promql;

#[path = "support/streams.rs"]
pub mod streams;

#[path = "support/canary.rs"]
pub mod canary;

#[path = "support/web.rs"]
pub mod web;

#[path = "support/jose.rs"]
pub mod jose;

#[path = "../crates/oidc/tests/oidc/keys.rs"]
pub mod issuer_keys;

#[path = "../crates/oidc/tests/oidc/server.rs"]
pub mod issuer_server;

#[path = "support/faults.rs"]
pub mod faults;

#[path = "support/disk.rs"]
pub mod disk;

#[path = "support/reliability.rs"]
pub mod reliability;

#[path = "support/softhsm.rs"]
pub mod softhsm;

#[path = "support/terminal.rs"]
pub mod terminal;

#[path = "support/life_cycle.rs"]
pub mod life_cycle;

#[path = "support/office.rs"]
pub mod office;

#[path = "support/hand.rs"]
pub mod hand;

#[path = "support/evidence.rs"]
pub mod evidence;

//! The client against a service that fails as it is told: a real tonic server in this process, over pipes in memory, so that
//! time is virtual and waits are measured exactly. What a real service answers is tested in `tests/client.rs`.

mod retries;
mod service;
mod signatures;
mod streams;

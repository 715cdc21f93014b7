//! The module: what a program that loads it calls.
//!
//! In scope: our entry points, each of which ends in [`engine::run`]; the module behind; what is known of its sessions.
//! Out of scope: how rules are written (`rules`), where they come from (`control`).
//!
//! All of it works on [`Words`]: the arguments of a call, whatever its function, as machine words. One engine can so stand
//! before every function, and the few places that look into arguments turn words into what the standard says they are.

#![allow(unsafe_code, reason = "PKCS#11 is a C interface, and this is both sides of it")]

mod before;
mod behind;
mod call;
mod conditions;
mod engine;
pub(crate) mod exports;
mod gate;
mod lies;
mod objects;
mod operation;
mod slots;
mod thunk;
mod tracker;

pub(crate) use behind::BehindTable;
pub(crate) use thunk::{forwarded, kept};

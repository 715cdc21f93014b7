//! What is answered over plain HTTP beside gRPC, on the same listener: `/.well-known/jwks.json`, for verifiers of JWTs, and
//! `/log/`, for whoever follows the transparency log.
//!
//! The gates are those of gRPC: the same limits, the same callers, nobody anonymous. What they refuse is worded as HTTP
//! here, once: they answer gRPC statuses, and each becomes a problem (RFC 9457).

mod jwks;
mod log;
mod pages;
mod problem;
mod query;
mod service;

pub(crate) use pages::{Page, Pages};
pub(crate) use service::{Split, Web};

/// Where verifiers look for keys (RFC 8615 for the prefix).
const JWKS_PATH: &str = "/.well-known/jwks.json";
/// Below it is the log.
const LOG_PREFIX: &str = "/log/";

//! From proto to the core's words and back; the only place where both are known.
//!
//! Each request is destructured whole, so that a new field does not compile until somebody decides what it does. What is
//! checked here is form: names, enumerations, the presence of what must be there, checksums. What depends on the key or
//! on a limit of the product (lengths above all) is checked by the core, where the rule is.

pub(crate) mod access;
pub(crate) mod api_keys;
pub(crate) mod audit;
mod caller_signature;
pub(crate) mod callers;
pub(crate) mod certificates;
mod enums;
mod fields;
pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod life_cycle;
pub(crate) mod log;
pub(crate) mod mac;
mod page;
pub(crate) mod policy;
pub(crate) mod public_key;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod signing;
pub(crate) mod tokens;

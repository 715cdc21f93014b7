//! Callers' own signatures of their requests (docs/caller-evidence.md): each that is still in details is verified, since nothing
//! else says so of what a service has recorded. Who issued the certificates is not looked at.

use super::Check;
use crate::caller_evidence::{CallerEvidenceError, verify_recorded_caller_signature};
use crate::details::Details;
use crate::leaf::Leaf;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The member of the details.
const MEMBER: &str = "caller_signature";
/// How JSON writes a character by its number: a name that is written so is that name, too.
const BY_NUMBER: &str = "\\u";

/// Whether details have a signature of their caller's, and the rest of them as it may be.
#[derive(Deserialize)]
struct Signed {
    caller_signature: Option<IgnoredAny>,
}

/// Whether a record has a signature of its caller's, which holds. Details without one, which most are, are searched for the
/// member's name and not read.
pub(super) fn check(leaf: &Leaf, details: &[u8]) -> Result<bool, Check> {
    // What is no text is no JSON.
    let Ok(text) = std::str::from_utf8(details) else { return Ok(false) };
    if !text.contains(MEMBER) && !text.contains(BY_NUMBER) {
        return Ok(false);
    }
    match Details::from_json(details) {
        Ok(details) => Ok(verify_recorded_caller_signature(leaf, &details)?.is_some()),
        // What cannot be read of them otherwise is no matter of a signature.
        Err(_) if matches!(serde_json::from_str(text), Ok(Signed { caller_signature: None })) => Ok(false),
        Err(_) => Err(CallerEvidenceError::Malformed("the details cannot be read").into()),
    }
}

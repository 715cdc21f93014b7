//! A caller's own signature of its request, verified.

use chancery_audit::{CallerEvidence, Covers, Details, Leaf, verify_recorded_caller_signature};
use serde::Serialize;

use super::moment;
use crate::input::hex;

/// What a caller's own signature of its request shows.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Vouched {
    /// It is the caller's, over this request.
    Holds {
        algorithm: &'static str,
        certificate_sha256: String,
        audience: String,
        signed: String,
        covers: &'static str,
    },
    /// It proves nothing of this record.
    Broken { why: String },
}

impl Vouched {
    /// Verifies it; `None` where there is none.
    pub fn of(leaf: &Leaf, details: &Details) -> Option<Self> {
        match verify_recorded_caller_signature(leaf, details) {
            Ok(None) => None,
            Ok(Some(evidence)) => {
                let CallerEvidence { certificate: _, certificate_sha256, algorithm, audience, created, covers } =
                    evidence;
                Some(Self::Holds {
                    algorithm: algorithm.as_str(),
                    certificate_sha256: hex(&certificate_sha256),
                    audience,
                    signed: moment(created),
                    covers: match covers {
                        Covers::SignedDigest => "SIGNED_DIGEST",
                        Covers::WhatWasAskedFor => "WHAT_WAS_ASKED_FOR",
                    },
                })
            }
            Err(error) => Some(Self::Broken { why: error.to_string() }),
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        match self {
            Self::Holds { algorithm, certificate_sha256, audience, signed, covers } => {
                let covers = if *covers == "SIGNED_DIGEST" { "this very digest" } else { "what was asked for" };
                format!(
                    "holds: {algorithm} by the key of the certificate {certificate_sha256} over {covers}, signed {signed} for \
                     {audience}"
                )
            }
            Self::Broken { why } => format!("DOES NOT HOLD: {why}"),
        }
    }
}

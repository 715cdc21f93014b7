//! A caller's own signature of its request, verified.

use chancery_audit::{CallerEvidence, Covers, Details, Leaf, verify_recorded_caller_signature};
use chancery_server::{CallerAuthorities, CallerCertificateError};
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
        /// Whom the certificate names, and the record takes the caller for.
        identity: String,
        issuer: Issuer,
        audience: String,
        signed: String,
        covers: &'static str,
    },
    /// It proves nothing of this record.
    Broken { why: String },
}

/// Whether the certificate was issued by somebody whom the reader trusts.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Issuer {
    /// No authorities were given.
    NotChecked,
    /// By one of those that were.
    Trusted,
    /// By none of them, or the certificate is none that this one may show.
    NotTrusted(#[serde(skip)] CallerCertificateError),
}

impl Vouched {
    /// Verifies it, and by these authorities who issued the certificate; `None` where there is none.
    pub fn of(leaf: &Leaf, details: &Details, authorities: Option<&CallerAuthorities>) -> Option<Self> {
        match verify_recorded_caller_signature(leaf, details) {
            Ok(None) => None,
            Ok(Some(evidence)) => {
                let issuer = Issuer::of(leaf, &evidence, authorities);
                let CallerEvidence {
                    certificate: _,
                    identity,
                    certificate_sha256,
                    algorithm,
                    audience,
                    created,
                    covers,
                } = evidence;
                Some(Self::Holds {
                    algorithm: algorithm.as_str(),
                    certificate_sha256: hex(&certificate_sha256),
                    identity: identity.to_string(),
                    issuer,
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
            Self::Holds { algorithm, certificate_sha256, identity, issuer, audience, signed, covers } => {
                let covers = if *covers == "SIGNED_DIGEST" { "this very digest" } else { "what was asked for" };
                let issuer = issuer.in_words();
                format!(
                    "holds: {algorithm} by the key of the certificate {certificate_sha256} of {identity} over {covers}, signed \
                     {signed} for {audience}; {issuer}"
                )
            }
            Self::Broken { why } => format!("DOES NOT HOLD: {why}"),
        }
    }
}

impl Issuer {
    fn of(leaf: &Leaf, evidence: &CallerEvidence, authorities: Option<&CallerAuthorities>) -> Self {
        let Some(authorities) = authorities else { return Self::NotChecked };
        let CallerEvidence { certificate, identity, created, .. } = evidence;
        match authorities.check(certificate, identity, leaf.time, *created) {
            Ok(()) => Self::Trusted,
            Err(error) => Self::NotTrusted(error),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::NotChecked => "who issued the certificate was not checked".to_owned(),
            Self::Trusted => {
                "the certificate is by an authority that was given, and was valid at the time of the record".to_owned()
            }
            Self::NotTrusted(error) => format!("the certificate is NOT TRUSTED: {error}"),
        }
    }
}

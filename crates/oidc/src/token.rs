//! A token taken apart: JWS in its compact serialization (RFC 7515, section 7.1), nothing of which is believed yet.

use crate::{JwsAlgorithm, Refused, RequiredClaim};
use base64ct::{Base64UrlUnpadded, Encoding};
use chancery_crypto::{Json, JsonObject};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// Longer than the tokens of issuers are, and shorter than the headers of a call may be; in bytes.
const MAX_LENGTH: usize = 12 * 1024;
/// The end of the year 9999, in seconds since 1970.
const MAX_TIME: f64 = 253_402_300_799.0;

/// What a token says.
pub(crate) struct Token<'a> {
    /// What the signature is over.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
    pub(crate) algorithm: JwsAlgorithm,
    pub(crate) key_id: Option<String>,
    kind: Option<String>,
    claims: JsonObject,
}

/// When it was issued, and from when until when it is valid.
pub(crate) struct Times {
    pub(crate) issued_at: SystemTime,
    pub(crate) not_before: Option<SystemTime>,
    pub(crate) expires: SystemTime,
}

impl<'a> Token<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, Refused> {
        if text.len() > MAX_LENGTH {
            return Err(Refused::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refused::Malformed)?;
        let header = object(header)?;
        // What it names has to be understood (RFC 7515, section 4.1.11), and we understand no extension.
        if header.get("crit").is_some() {
            return Err(Refused::Critical);
        }
        let text = |name| header.text(name).or(Err(Refused::Malformed));
        let algorithm = text("alg")?.ok_or(Refused::Malformed)?.parse().or(Err(Refused::Algorithm))?;
        Ok(Self {
            signed,
            signature: octets(signature)?,
            algorithm,
            key_id: text("kid")?.map(str::to_owned),
            kind: text("typ")?.map(str::to_owned),
            claims: object(claims)?,
        })
    }

    /// The issuer that it says it is of.
    pub(crate) fn issuer(&self) -> Result<&str, Refused> {
        self.claims.text("iss").ok().flatten().ok_or(Refused::Claims)
    }

    /// Whether it is of this type: a media type, of which `application/` may be left out (RFC 7515, section 4.1.9).
    pub(crate) fn is_of_type(&self, wanted: &str) -> bool {
        let short = |text: &str| {
            let lower = text.to_ascii_lowercase();
            lower.strip_prefix("application/").map_or(lower.clone(), str::to_owned)
        };
        self.kind.as_deref().is_some_and(|kind| short(kind) == short(wanted))
    }

    /// Whether it is for one of these audiences, among others or alone.
    pub(crate) fn is_for(&self, audiences: &BTreeSet<String>) -> Result<bool, Refused> {
        match self.claims.get("aud").ok_or(Refused::Audience)? {
            Json::Text(one) => Ok(audiences.contains(one)),
            Json::Array(several) => {
                let texts = several.iter().map(|one| match one {
                    Json::Text(text) => Ok(text),
                    _ => Err(Refused::Claims),
                });
                Ok(texts.collect::<Result<Vec<_>, _>>()?.into_iter().any(|one| audiences.contains(one)))
            }
            _ => Err(Refused::Claims),
        }
    }

    /// Whether it has a claim with this value, which may be one of several where it is a text.
    pub(crate) fn has(&self, name: &str, wanted: &RequiredClaim) -> bool {
        match (self.claims.get(name), wanted) {
            (Some(Json::Text(text)), RequiredClaim::Text(wanted)) => text == wanted,
            (Some(Json::Array(several)), RequiredClaim::Text(wanted)) => {
                several.iter().any(|one| matches!(one, Json::Text(text) if text == wanted))
            }
            (Some(Json::Flag(flag)), RequiredClaim::Flag(wanted)) => flag == wanted,
            _ => false,
        }
    }

    /// Whom it names, by this claim.
    pub(crate) fn subject(&self, claim: &str) -> Result<&str, Refused> {
        self.claims.text(claim).ok().flatten().ok_or(Refused::Claims)
    }

    /// Its id (`jti`), where it has one.
    pub(crate) fn id(&self) -> Result<Option<&str>, Refused> {
        self.claims.text("jti").or(Err(Refused::Claims))
    }

    pub(crate) fn times(&self) -> Result<Times, Refused> {
        let time = |name| match self.claims.number(name) {
            Ok(None) => Ok(None),
            Ok(Some(seconds)) if (0.0..=MAX_TIME).contains(&seconds) => {
                Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)))
            }
            Ok(Some(_)) | Err(_) => Err(Refused::Claims),
        };
        Ok(Times {
            issued_at: time("iat")?.ok_or(Refused::Claims)?,
            not_before: time("nbf")?,
            expires: time("exp")?.ok_or(Refused::Claims)?,
        })
    }
}

/// In base64url without padding, and in no other spelling of the same bytes.
fn octets(text: &str) -> Result<Vec<u8>, Refused> {
    Base64UrlUnpadded::decode_vec(text).or(Err(Refused::Malformed))
}

fn object(text: &str) -> Result<JsonObject, Refused> {
    JsonObject::read(&octets(text)?).or(Err(Refused::Malformed))
}

//! The claims of a token: read strictly, bounded in time, and signed as they were given.
//!
//! The payload is the caller's own text, byte for byte, without white space around it; `"iat":N` and `"exp":N`, in this
//! order, are put before the closing brace where the caller gave none. Nothing is written anew, so numbers, escapes and
//! the order of names stay what they were. What verifiers could read in two ways is refused: a name that occurs twice
//! (RFC 7519, section 4, lets parsers disagree) or is a registered claim's but for its case, numbers and strings that JSON
//! has and languages do not.

use chancery_crypto::{Json, JsonObject};
use chancery_model::{KeyName, Timestamp};
use std::fmt::Write as _;
use std::time::Duration;

use super::lifetime::{in_bounds, is_whole};
use crate::Error;

/// Length of the longest claims, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// How many audiences a token may have: policy compares each.
const MAX_AUDIENCES: usize = 64;
/// Length of the longest `iss`, `sub` and member of `aud`, in bytes: the record keeps what policy saw, of denials, too.
const MAX_TEXT_BYTES: usize = 512;
/// Length of all members of `aud` together, in bytes.
const MAX_AUDIENCES_BYTES: usize = 4 * 1024;
/// How far an `iat` may be from the service's clock, in seconds.
const MAX_CLOCK_DIFFERENCE: i64 = 60;

/// Claims that are good as far as that can be said without the key.
pub(super) struct Claims {
    /// Ends in the closing brace.
    text: String,
    is_empty: bool,
    issuer: Option<String>,
    subject: Option<String>,
    audiences: Vec<String>,
    /// `iat` and `exp` as the caller gave them.
    given_issued: Option<i64>,
    given_expires: Option<i64>,
    not_before: Option<i64>,
    /// `iat` as given, or the service's time.
    issued: i64,
    /// As the caller asked for it.
    lifetime: Option<Duration>,
}

/// From when until when a token is good, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    issued: i64,
    expires: i64,
}

impl Validity {
    pub fn issued(self) -> Timestamp {
        seconds(self.issued)
    }

    pub fn expires(self) -> Timestamp {
        seconds(self.expires)
    }
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000))
}

fn invalid<T>(description: impl Into<String>) -> Result<T, Error> {
    Err(Error::invalid("claims", description))
}

impl Claims {
    /// Reads the claims, and checks whatever does not depend on the key.
    pub fn read(text: String, lifetime: Option<Duration>, now: Timestamp) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return invalid(format!("have {} bytes; at most {MAX_BYTES} are taken", text.len()));
        }
        let members =
            JsonObject::read(text.as_bytes()).or_else(|error| invalid(format!("must be one JSON object: {error}")))?;
        let now = now.unix_micros().div_euclid(1_000_000);
        let mut claims = Self {
            text: text.trim_matches([' ', '\t', '\n', '\r']).to_owned(),
            is_empty: members.is_empty(),
            issuer: None,
            subject: None,
            audiences: Vec::new(),
            given_issued: None,
            given_expires: None,
            not_before: None,
            issued: now,
            lifetime,
        };
        for (name, value) in members {
            match name.as_str() {
                "iss" => claims.issuer = Some(text_claim("iss", value)?),
                "sub" => claims.subject = Some(text_claim("sub", value)?),
                "aud" => claims.audiences = audiences(value)?,
                "iat" => claims.given_issued = Some(numeric_date("iat", &value)?),
                "exp" => claims.given_expires = Some(numeric_date("exp", &value)?),
                "nbf" => claims.not_before = Some(numeric_date("nbf", &value)?),
                other => not_mistakable(other)?,
            }
        }
        claims.issued = claims.given_issued.unwrap_or(now);
        claims.check_times(now)?;
        Ok(claims)
    }

    fn check_times(&self, now: i64) -> Result<(), Error> {
        if let Some(issued) = self.given_issued
            && issued.abs_diff(now) > MAX_CLOCK_DIFFERENCE.unsigned_abs()
        {
            return invalid(format!(
                "iat is {issued}, and the service's time is {now}; leave iat out, or set the clock: they may differ by \
                 {MAX_CLOCK_DIFFERENCE} seconds"
            ));
        }
        match (self.given_expires, self.lifetime) {
            (Some(_), Some(_)) => Err(Error::invalid("lifetime", "is given, and the claims have exp: leave one out")),
            (Some(expires), None) if expires <= self.issued => {
                invalid(format!("exp is {expires}, which is not after iat, {}", self.issued))
            }
            (None, Some(lifetime)) if !is_whole(lifetime) || !in_bounds(lifetime) => {
                Err(Error::invalid("lifetime", "must be whole seconds, from 1 second to 3650 days"))
            }
            (None, None) | (Some(_), None) | (None, Some(_)) => Ok(()),
        }
    }

    /// `iss`.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `aud`, also where it is one string.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// From `iat` to `exp`, where a key's tokens live for `maximum` unless something else is asked for.
    pub fn lifetime_seconds(&self, maximum: Duration) -> u64 {
        match self.given_expires {
            // It is after `iat`.
            Some(expires) => expires.abs_diff(self.issued),
            None => self.lifetime.unwrap_or(maximum).as_secs(),
        }
    }

    /// From when until when the token is good, if `key` lets its tokens live so long.
    pub fn validity(&self, key: &KeyName, maximum: Duration) -> Result<Validity, Error> {
        let lifetime = self.lifetime_seconds(maximum);
        if lifetime > maximum.as_secs() {
            let field = if self.given_expires.is_some() { "claims" } else { "lifetime" };
            let description = format!(
                "the token would live for {lifetime} seconds from iat to exp; those of {key} live for at most {} seconds \
                 (max_jwt_lifetime)",
                maximum.as_secs()
            );
            return Err(Error::invalid(field, description));
        }
        // Within 3650 days and a minute from now.
        let expires = self.issued.saturating_add_unsigned(lifetime);
        match self.not_before {
            Some(not_before) if not_before >= expires => invalid(format!(
                "nbf is {not_before}, which is not before exp, {expires}: the token would never be good"
            )),
            _ => Ok(Validity { issued: self.issued, expires }),
        }
    }

    /// The text that is signed.
    pub fn payload(&self, validity: Validity) -> String {
        let mut payload = self.text.clone();
        payload.pop();
        let mut separator = if self.is_empty { "" } else { "," };
        let times = [("iat", self.given_issued, validity.issued), ("exp", self.given_expires, validity.expires)];
        for (name, given, time) in times {
            if given.is_none() {
                // Writing to a String cannot fail.
                let _ = write!(payload, "{separator}\"{name}\":{time}");
                separator = ",";
            }
        }
        payload.push('}');
        payload
    }
}

/// Claims that have a meaning for every verifier (RFC 7519, section 4.1).
const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// Refuses a name that some verifiers take for a registered one. Go's `encoding/json`, for one, ignores case, also that of
/// `\u{17f}`, the long s: it would find `sub` in `"Sub"`, and of both take the last, where policy has seen the other.
fn not_mistakable(name: &str) -> Result<(), Error> {
    let folded: String = name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    match REGISTERED.iter().find(|registered| folded == **registered && name != **registered) {
        Some(registered) => invalid(format!(
            "have a name that differs from {registered} in case only, which some verifiers take for {registered}; write \
             {registered}, or choose another name"
        )),
        None => Ok(()),
    }
}

fn text_claim(name: &str, value: Json) -> Result<String, Error> {
    match value {
        Json::Text(text) => bounded(name, text),
        _ => invalid(format!("{name} must be a string")),
    }
}

fn audiences(value: Json) -> Result<Vec<String>, Error> {
    const RULE: &str = "aud must be a string or an array of strings";
    match value {
        Json::Text(one) => Ok(vec![bounded("aud", one)?]),
        Json::Array(values) if values.len() > MAX_AUDIENCES => {
            invalid(format!("aud has {} members; at most {MAX_AUDIENCES} are taken", values.len()))
        }
        Json::Array(values) => {
            let text = |value| match value {
                Json::Text(text) => bounded("a member of aud", text),
                _ => invalid(RULE),
            };
            let audiences = values.into_iter().map(text).collect::<Result<Vec<String>, Error>>()?;
            match audiences.iter().map(String::len).sum::<usize>() {
                bytes if bytes > MAX_AUDIENCES_BYTES => {
                    invalid(format!("aud has {bytes} bytes in all; at most {MAX_AUDIENCES_BYTES} are taken"))
                }
                _ => Ok(audiences),
            }
        }
        _ => invalid(RULE),
    }
}

fn bounded(what: &str, text: String) -> Result<String, Error> {
    match text.len() {
        bytes if bytes > MAX_TEXT_BYTES => {
            invalid(format!("{what} has {bytes} bytes; at most {MAX_TEXT_BYTES} are taken"))
        }
        _ => Ok(text),
    }
}

/// A NumericDate (RFC 7519, section 2) without fractions, which verifiers round in different ways.
fn numeric_date(name: &str, value: &Json) -> Result<i64, Error> {
    match value {
        Json::Integer(seconds) => Ok(*seconds),
        _ => invalid(format!(
            "{name} must be a whole number of seconds since 1970-01-01T00:00:00Z, without fraction or exponent"
        )),
    }
}

#[cfg(test)]
mod tests;

//! Callers' own signatures of their requests.

use serde::{Deserialize, Deserializer};

/// Length of the longest audience, in bytes.
const MAX_AUDIENCE_BYTES: usize = 128;

/// That callers may sign their requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerSignatures {
    /// Whom a signature has to be for: a name that no other service has, and none of another environment.
    #[serde(deserialize_with = "audience")]
    pub audience: String,
}

fn audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let well_formed =
        (1..=MAX_AUDIENCE_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if well_formed {
        Ok(text)
    } else {
        let rule = format!(
            "an audience has 1 to {MAX_AUDIENCE_BYTES} visible ASCII characters and no spaces, for example \
             chancery.prod.example"
        );
        Err(serde::de::Error::custom(rule))
    }
}

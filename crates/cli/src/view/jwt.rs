//! A JSON Web Token.

use std::io::{self, Write};

use chancery_client::Jwt;
use chancery_model::Timestamp;
use serde::Serialize;

use super::time;
use crate::output::{View, fields};

/// A token, and what made it.
#[derive(Debug, Serialize)]
pub struct JwtView {
    /// The version that signed.
    pub version: String,
    /// The token itself.
    pub token: String,
    key_id: String,
    issue_time: String,
    /// `exp`.
    pub expire_time: String,
    /// Index of the intent.
    pub record_index: u64,
    /// Whether a receipt was made, where one was asked for, and why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_status: Option<&'static str>,
}

impl From<Jwt> for JwtView {
    fn from(jwt: Jwt) -> Self {
        let Jwt { version, token, key_id, issued, expires, record_index, receipt: _ } = jwt;
        Self {
            version: version.to_string(),
            token,
            key_id,
            issue_time: seconds(issued),
            expire_time: seconds(expires),
            record_index,
            receipt_status: None,
        }
    }
}

/// A token's times are whole seconds.
fn seconds(at: Timestamp) -> String {
    time(Some(prost_types::Timestamp { seconds: at.unix_micros().div_euclid(1_000_000), nanos: 0 }))
}

impl View for JwtView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        fields(
            out,
            [
                ("signed by", self.version.clone()),
                ("key id", self.key_id.clone()),
                ("issued", self.issue_time.clone()),
                ("expires", self.expire_time.clone()),
                ("record", self.record_index.to_string()),
                ("token", self.token.clone()),
            ],
        )
    }
}

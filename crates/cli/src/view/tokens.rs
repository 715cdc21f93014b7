//! Tokens.

use std::io::{self, Write};

use chancery_api::v1;
use serde::Serialize;

use super::{algorithm, word};
use crate::output::{View, fields, rows};

/// A token and the worker that serves it.
#[derive(Debug, Serialize)]
pub struct TokenView {
    name: String,
    label: String,
    serial: String,
    manufacturer: String,
    model: String,
    firmware_version: String,
    hardware_version: String,
    health: String,
    health_reason: String,
    open_sessions: u32,
    max_sessions: u32,
    signing_threads: u32,
    in_flight: u32,
    queued: u32,
    worker_restarts: u32,
    worker_pid: u32,
    mechanisms: Vec<String>,
    algorithms: Vec<String>,
    key_rings: Vec<String>,
}

impl From<v1::Token> for TokenView {
    fn from(token: v1::Token) -> Self {
        let v1::Token {
            name,
            label,
            serial,
            manufacturer,
            model,
            firmware_version,
            hardware_version,
            health,
            health_reason,
            open_sessions,
            max_sessions,
            signing_threads,
            in_flight,
            queued,
            worker_restarts,
            worker_pid,
            mechanisms,
            algorithms,
            key_rings,
        } = token;
        let health_name = v1::TokenHealth::try_from(health).ok().map(|known| known.as_str_name());
        Self {
            name,
            label,
            serial,
            manufacturer,
            model,
            firmware_version,
            hardware_version,
            health: word(health_name, "TOKEN_HEALTH_", health),
            health_reason,
            open_sessions,
            max_sessions,
            signing_threads,
            in_flight,
            queued,
            worker_restarts,
            worker_pid,
            mechanisms,
            algorithms: algorithms.into_iter().map(algorithm).collect(),
            key_rings,
        }
    }
}

impl View for TokenView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let limit =
            if self.max_sessions == 0 { "no known limit".to_owned() } else { format!("of {}", self.max_sessions) };
        fields(
            out,
            [
                ("name", self.name.clone()),
                ("label", self.label.clone()),
                ("serial", self.serial.clone()),
                ("manufacturer", self.manufacturer.clone()),
                ("model", self.model.clone()),
                ("firmware", self.firmware_version.clone()),
                ("hardware", self.hardware_version.clone()),
                ("health", self.health.clone()),
                ("health reason", self.health_reason.clone()),
                ("sessions", format!("{} ({limit})", self.open_sessions)),
                ("signing threads", self.signing_threads.to_string()),
                ("in flight", self.in_flight.to_string()),
                ("queued", self.queued.to_string()),
                ("worker pid", if self.worker_pid == 0 { "none".to_owned() } else { self.worker_pid.to_string() }),
                ("worker restarts", self.worker_restarts.to_string()),
                ("key rings", self.key_rings.join(" ")),
                ("algorithms", self.algorithms.join(" ")),
                ("mechanisms", self.mechanisms.join(" ")),
            ],
        )
    }
}

/// Tokens.
#[derive(Debug, Serialize)]
pub struct TokenList {
    /// By name.
    pub tokens: Vec<TokenView>,
}

impl View for TokenList {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |token: &TokenView| {
            [
                token.name.clone(),
                token.label.clone(),
                token.serial.clone(),
                token.health.clone(),
                token.worker_restarts.to_string(),
                token.key_rings.join(" "),
            ]
        };
        rows(out, ["NAME", "LABEL", "SERIAL", "HEALTH", "RESTARTS", "KEY RINGS"], self.tokens.iter().map(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latched_token_says_so_and_why() {
        let token = v1::Token {
            name: "tokens/main".to_owned(),
            health: v1::TokenHealth::Latched.into(),
            health_reason: "the token refused the PIN".to_owned(),
            ..Default::default()
        };
        let mut out = Vec::new();
        TokenView::from(token).write_table(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("LATCHED") && text.contains("refused the PIN") && text.contains("none"), "{text}");
    }
}

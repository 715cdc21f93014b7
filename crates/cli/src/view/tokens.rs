//! Tokens.

use std::io::{self, Write};

use chancery_api::v1;
use serde::Serialize;

use super::{algorithm, time, word};
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
    health_cause: String,
    health_change_time: String,
    next_attempt_time: String,
    configured_signing_threads: u32,
    worker_memory_bytes: u64,
    worker_memory_limit_bytes: u64,
    worker_threads: u32,
    replacements_held_back: u32,
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
            health_cause,
            health_change_time,
            next_attempt_time,
            configured_signing_threads,
            worker_memory_bytes,
            worker_memory_limit_bytes,
            worker_threads,
            replacements_held_back,
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
            health_cause: cause(health_cause),
            health_change_time: time(health_change_time),
            next_attempt_time: time(next_attempt_time),
            configured_signing_threads,
            worker_memory_bytes,
            worker_memory_limit_bytes,
            worker_threads,
            replacements_held_back,
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

/// Why a token is not up; empty where it is.
fn cause(number: i32) -> String {
    match v1::TokenHealthCause::try_from(number) {
        Ok(v1::TokenHealthCause::Unspecified) => String::new(),
        known => word(known.ok().map(|known| known.as_str_name()), "TOKEN_HEALTH_CAUSE_", number),
    }
}

/// A size in bytes, for people.
fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & ((1 << 20) - 1)) * 10) >> 20)
}

impl View for TokenView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let limit =
            if self.max_sessions == 0 { "no known limit".to_owned() } else { format!("of {}", self.max_sessions) };
        let worker = |text: String| if self.worker_pid == 0 { "none".to_owned() } else { text };
        let memory = format!(
            "{} (replaced above {})",
            mebibytes(self.worker_memory_bytes),
            mebibytes(self.worker_memory_limit_bytes)
        );
        let memory = worker(memory);
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
                ("health cause", self.health_cause.clone()),
                ("health reason", self.health_reason.clone()),
                ("since", self.health_change_time.clone()),
                ("next attempt", self.next_attempt_time.clone()),
                ("sessions", format!("{} ({limit})", self.open_sessions)),
                ("signing threads", format!("{} of {}", self.signing_threads, self.configured_signing_threads)),
                ("in flight", self.in_flight.to_string()),
                ("queued", self.queued.to_string()),
                ("worker pid", worker(self.worker_pid.to_string())),
                ("worker memory", memory),
                ("worker threads", worker(self.worker_threads.to_string())),
                ("worker restarts", self.worker_restarts.to_string()),
                ("replacements held back", self.replacements_held_back.to_string()),
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
                token.health_cause.clone(),
                token.worker_restarts.to_string(),
                token.key_rings.join(" "),
            ]
        };
        rows(out, ["NAME", "LABEL", "SERIAL", "HEALTH", "CAUSE", "RESTARTS", "KEY RINGS"], self.tokens.iter().map(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        let shown = [0, 12_058_624, 1 << 30, (1 << 20) - 1].map(mebibytes);
        assert_eq!(shown, ["0.0 MiB", "11.5 MiB", "1024.0 MiB", "0.9 MiB"]);
    }

    #[test]
    fn a_latched_token_says_so_and_why() {
        let token = v1::Token {
            name: "tokens/main".to_owned(),
            health: v1::TokenHealth::Latched.into(),
            health_reason: "the token refused the PIN".to_owned(),
            health_cause: v1::TokenHealthCause::PinRefused.into(),
            ..Default::default()
        };
        let mut out = Vec::new();
        TokenView::from(token).write_table(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("PIN_REFUSED"), "{text}");
        assert!(text.contains("LATCHED") && text.contains("refused the PIN") && text.contains("none"), "{text}");
    }
}

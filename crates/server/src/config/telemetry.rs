//! `[telemetry]`: what the service tells of itself.

use serde::Deserialize;

/// Logs, traces and metrics. None of them ever holds a payload, a digest or a PIN.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// How log lines are written (to standard error). Default `json`.
    pub log_format: LogFormat,
    /// What is logged, as `tracing` filters are written: `info`, `warn`, `info,chancery_hsm=debug`. Default `info`.
    pub log_filter: String,
    /// An OpenTelemetry collector that takes OTLP over gRPC; traces and metrics are sent to it. Not given: none are.
    pub otlp_endpoint: Option<String>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log_format: LogFormat::Json, log_filter: "info".to_owned(), otlp_endpoint: None }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Text,
}

//! `[listener.limits]`: an explicit number for everything that the transport would otherwise leave open.

use super::parse;
use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// Limits of connections and calls. Each has a default; none can be switched off but the age of a connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections open at the same time, handshakes included; more wait in the kernel's queue. Default 1024.
    pub max_connections: NonZeroUsize,
    /// Those of them whose TLS handshake is not finished, of which anybody can begin one; more wait in the kernel's queue.
    /// Default 256.
    pub max_handshakes: NonZeroUsize,
    /// Connections from one address (for IPv6: one network of 64 bits) at the same time; one more is closed at once. Default 256.
    pub max_connections_per_address: NonZeroUsize,
    /// Those of them whose TLS handshake is not finished; one more is closed at once. Default 64.
    pub max_handshakes_per_address: NonZeroUsize,
    /// Time from the TCP connection to the end of the TLS handshake. Default 5.
    #[serde(rename = "handshake_timeout_seconds", deserialize_with = "parse::seconds")]
    pub handshake_timeout: Duration,
    /// A connection over which no registered caller has called is asked to go after this time, and closed soon after.
    /// Default 60.
    #[serde(rename = "unused_timeout_seconds", deserialize_with = "parse::seconds")]
    pub unused_timeout: Duration,
    /// Calls under way on one connection (HTTP/2 SETTINGS_MAX_CONCURRENT_STREAMS). Default 256.
    pub max_concurrent_streams: NonZeroU32,
    /// Size of a call's headers (HTTP/2 SETTINGS_MAX_HEADER_LIST_SIZE). Default 16384.
    pub max_header_list_bytes: NonZeroU32,
    /// Size of a request message. Default 4194304: a full batch of 3 MiB, and what encodes it.
    pub max_request_bytes: NonZeroUsize,
    /// Size of an answer. Default 4194304.
    pub max_response_bytes: NonZeroUsize,
    /// How often a silent connection is asked whether it lives (HTTP/2 PING). Default 30.
    #[serde(rename = "keepalive_interval_seconds", deserialize_with = "parse::seconds")]
    pub keepalive_interval: Duration,
    /// How long it has to answer before it is closed. With HTTP/1.1, which has no PING: from the connection, or the answer
    /// before, to the end of a request's headers. Default 10.
    #[serde(rename = "keepalive_timeout_seconds", deserialize_with = "parse::seconds")]
    pub keepalive_timeout: Duration,
    /// Bytes that a caller may send ahead on one call (HTTP/2 initial window). Default 1048576: one full message.
    pub initial_stream_window_bytes: NonZeroU32,
    /// Bytes that a caller may send ahead on one connection. Default 4194304.
    pub initial_connection_window_bytes: NonZeroU32,
    /// After this time a connection is asked to go and its calls are finished, open streams are ended, and the caller
    /// connects anew. Not given: no limit (certificates are checked on every call and every message anyway).
    #[serde(rename = "max_connection_age_seconds", deserialize_with = "parse::optional_seconds")]
    pub max_connection_age: Option<Duration>,
    /// Deadline of a call that names none, and of each message of a stream. Default 30.
    #[serde(rename = "default_deadline_seconds", deserialize_with = "parse::seconds")]
    pub default_deadline: Duration,
    /// The longest deadline that is granted; a later one is shortened to it. Streams last as long as their callers like.
    /// Default 120.
    #[serde(rename = "max_deadline_seconds", deserialize_with = "parse::seconds")]
    pub max_deadline: Duration,
    /// Calls under way at the same time; one more is refused at once (RESOURCE_EXHAUSTED). Default 1024.
    pub max_in_flight: NonZeroUsize,
    /// Calls of one caller under way at the same time; one more is refused at once. An open stream is one of them, and so is
    /// each of its messages under way but one, which waits where a call would be refused. Default 256.
    pub max_in_flight_per_caller: NonZeroUsize,
    /// Streams (StreamSign, WatchRecords) of one caller open at the same time; one more is refused at once. Default 32.
    pub max_streams_per_caller: NonZeroUsize,
    /// After the signal to stop: how long calls under way may take to end before they are cut off. Default 30.
    #[serde(rename = "shutdown_grace_seconds", deserialize_with = "parse::seconds")]
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: usize_of(1024),
            max_handshakes: usize_of(256),
            max_connections_per_address: usize_of(256),
            max_handshakes_per_address: usize_of(64),
            handshake_timeout: Duration::from_secs(5),
            unused_timeout: Duration::from_secs(60),
            max_concurrent_streams: u32_of(256),
            max_header_list_bytes: u32_of(16 * 1024),
            max_request_bytes: usize_of(4 * 1024 * 1024),
            max_response_bytes: usize_of(4 * 1024 * 1024),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            initial_stream_window_bytes: u32_of(1024 * 1024),
            initial_connection_window_bytes: u32_of(4 * 1024 * 1024),
            max_connection_age: None,
            default_deadline: Duration::from_secs(30),
            max_deadline: Duration::from_secs(120),
            max_in_flight: usize_of(1024),
            max_in_flight_per_caller: usize_of(256),
            max_streams_per_caller: usize_of(32),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// How long the receipts of an answer may be together: what else it holds has room, and clients that take gRPC's usual
    /// 4 MiB take it.
    pub(crate) fn receipt_bytes(&self) -> usize {
        (self.max_response_bytes.get() / 4 * 3).min(3 << 20)
    }
}

fn usize_of(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

fn u32_of(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

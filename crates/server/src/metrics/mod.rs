//! What is counted. Names, units and attributes are in `docs/telemetry.md`, which a test holds to them.
//!
//! Attributes are few and bounded: methods of the contract, status codes, reasons, configured rings and tokens, and so
//! many keys. Never a caller's text. Sets of attributes are made once, so that a call pays for a look-up and no more.
//!
//! There is one truth: the same instruments are sent to a collector and shown on `/metrics`.

mod calls;
mod decisions;
mod exemplars;
mod exposition;
mod http;
mod observed;
mod route;
mod scrape;

pub(crate) use self::http::HttpRequest;
pub(crate) use calls::CallTimer;
pub(crate) use exemplars::Exemplars;
pub(crate) use exposition::Format;
pub(crate) use observed::Observed;
pub(crate) use scrape::Scrape;

use crate::errors::Refusal;
use calls::Calls;
use chancery_audit::GroupObserver;
use chancery_core::{NoReceipt, Observer, ReceiptAnswer, SignAnswer, SignJwtAnswer};
use chancery_model::{Algorithm, Id, KeyVersionName};
use exemplars::Durations;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};
use route::Route;
use std::collections::HashMap;
use std::sync::Arc;

/// The value of an attribute that does not apply. No id can be this.
const NONE: &str = "_none";

/// The value of an attribute for all that is no longer told apart. No id can be this.
const OTHER: &str = "_other";

/// The method of a path that is not in the contract, as the OpenTelemetry conventions write it.
const OTHER_METHOD: &str = "_OTHER";

/// The instruments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    inner: Arc<Inner>,
}

/// What can come of a receipt that is asked for.
const RECEIPTS: [&str; 6] = ["issued", "not_kept", "unsigned", "not_in_time", "too_large", "failed"];

fn receipt_attributes(result: &'static str) -> [KeyValue; 1] {
    [KeyValue::new("chancery.result", result)]
}

struct Inner {
    calls: Calls,
    http: Durations,
    route: Route,
    refusals: Counter<u64>,
    unauthenticated: Counter<u64>,
    signatures: Counter<u64>,
    /// For each configured ring, each algorithm.
    signature_attributes: HashMap<Id, HashMap<Algorithm, [KeyValue; 2]>>,
    receipts: Counter<u64>,
    connections: UpDownCounter<i64>,
    connections_refused: Counter<u64>,
    tls_reloads: Counter<u64>,
}

/// What bounds the attributes, and whether there are traces.
pub(crate) struct Scope<'a> {
    /// The configured key rings.
    pub(crate) rings: Vec<&'a Id>,
    /// The configured tokens.
    pub(crate) tokens: Vec<&'a Id>,
    /// Whether spans are exported.
    pub(crate) traced: bool,
}

/// Why a connection came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionRefusal {
    Socket,
    Tls,
    Timeout,
    /// Its handshake was not finished soon, while others had no place for theirs.
    Crowded,
    /// Its address has as many connections as it may have.
    AddressConnections,
    /// Its address has as many handshakes to finish as it may have.
    AddressHandshakes,
    /// No registered caller called over it.
    Unused,
}

impl ConnectionRefusal {
    /// Every reason.
    pub(crate) const ALL: [Self; 7] = [
        Self::Socket,
        Self::Tls,
        Self::Timeout,
        Self::Crowded,
        Self::AddressConnections,
        Self::AddressHandshakes,
        Self::Unused,
    ];

    /// A word for metrics and log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Tls => "tls",
            Self::Timeout => "handshake_timeout",
            Self::Crowded => "handshake_crowded",
            Self::AddressConnections => "address_connections",
            Self::AddressHandshakes => "address_handshakes",
            Self::Unused => "unused",
        }
    }
}

impl Metrics {
    /// Makes the instruments.
    pub(crate) fn new(meter: &Meter, exemplars: &Exemplars, scope: Scope<'_>) -> Self {
        let Scope { rings, tokens, traced } = scope;
        let signature_attributes = rings
            .into_iter()
            .map(|ring| {
                let of = |algorithm: Algorithm| {
                    [
                        KeyValue::new("chancery.key_ring", ring.to_string()),
                        KeyValue::new("chancery.algorithm", algorithm.as_str()),
                    ]
                };
                (ring.clone(), Algorithm::ALL.into_iter().map(|algorithm| (algorithm, of(algorithm))).collect())
            })
            .collect();
        let counter = |name: &'static str, unit: &'static str, description: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(description).build()
        };
        let inner = Inner {
            calls: Calls::new(meter, exemplars),
            http: self::http::durations(meter, exemplars),
            route: Route::new(meter, exemplars, tokens.into_iter(), traced),
            refusals: counter("chancery.refusals", "{refusal}", "Calls and batch items refused, by reason"),
            unauthenticated: counter(
                "chancery.unauthenticated",
                "{call}",
                "Calls refused because nobody registered was behind them, by reason",
            ),
            signatures: counter(
                "chancery.signatures",
                "{signature}",
                "Signatures handed out, by key ring and algorithm",
            ),
            signature_attributes,
            receipts: counter("chancery.receipts", "{receipt}", "Receipts asked for, by what came of it"),
            connections: meter
                .i64_up_down_counter("chancery.connections")
                .with_unit("{connection}")
                .with_description("Connections whose handshake is done")
                .build(),
            connections_refused: counter(
                "chancery.connections.refused",
                "{connection}",
                "Connections that came to nothing, by reason",
            ),
            tls_reloads: counter(
                "chancery.tls.reloads",
                "{reload}",
                "Times that certificate, authorities and CRLs were read again, by result",
            ),
        };
        // An alert on one that fails wants to have seen none before.
        RECEIPTS.iter().for_each(|result| inner.receipts.add(0, &receipt_attributes(result)));
        Self { inner: Arc::new(inner) }
    }

    /// A call begins. `path` is the HTTP/2 path.
    pub(crate) fn call(&self, path: &str) -> CallTimer {
        CallTimer::begin(self, path)
    }

    fn calls(&self) -> &Calls {
        &self.inner.calls
    }

    /// For the core, to tell what happens in it.
    pub(crate) fn observer(&self) -> Observer {
        let metrics = self.clone();
        Observer::new(move |observation| metrics.inner.route.observe(observation))
    }

    /// For the record, to tell what it writes.
    pub(crate) fn group_observer(&self) -> GroupObserver {
        let metrics = self.clone();
        GroupObserver::new(move |written| metrics.inner.route.written(written))
    }

    /// A call or an item of a batch was refused.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.inner.refusals.add(1, &[KeyValue::new("chancery.reason", refusal.reason.clone())]);
    }

    /// A call had nobody registered behind it.
    pub(crate) fn unauthenticated(&self, reason: &'static str) {
        self.inner.unauthenticated.add(1, &[KeyValue::new("chancery.reason", reason)]);
    }

    /// A signature is handed out.
    pub(crate) fn signed(&self, answer: &SignAnswer) {
        self.signature(&answer.version, answer.algorithm);
        self.receipt(answer.receipt.as_ref());
    }

    /// A JWT is handed out.
    pub(crate) fn issued(&self, answer: &SignJwtAnswer) {
        self.signature(&answer.version, answer.algorithm);
        self.receipt(answer.receipt.as_ref());
    }

    fn receipt(&self, asked_for: Option<&ReceiptAnswer>) {
        let Some(receipt) = asked_for else { return };
        let result = match receipt {
            Ok(_) => "issued",
            Err(NoReceipt::NotKept) => "not_kept",
            Err(NoReceipt::Unsigned) => "unsigned",
            Err(NoReceipt::NotInTime) => "not_in_time",
            Err(NoReceipt::TooLarge) => "too_large",
            Err(NoReceipt::Failed) => "failed",
        };
        self.inner.receipts.add(1, &receipt_attributes(result));
    }

    fn signature(&self, version: &KeyVersionName, algorithm: Algorithm) {
        let ring = self.inner.signature_attributes.get(&version.key.ring);
        if let Some(attributes) = ring.and_then(|algorithms| algorithms.get(&algorithm)) {
            self.inner.signatures.add(1, attributes);
        }
    }

    /// A connection's handshake is done; it is counted until what is returned is dropped.
    pub(crate) fn connection_opened(&self) -> OpenConnection {
        self.inner.connections.add(1, &[]);
        OpenConnection(self.clone())
    }

    /// A connection came to nothing.
    pub(crate) fn connection_refused(&self, refusal: ConnectionRefusal) {
        self.inner.connections_refused.add(1, &[KeyValue::new("chancery.reason", refusal.as_str())]);
    }

    /// Certificate, authorities and CRLs were read again, or could not be.
    pub(crate) fn tls_reloaded(&self, succeeded: bool) {
        let result = if succeeded { "succeeded" } else { "failed" };
        self.inner.tls_reloads.add(1, &[KeyValue::new("chancery.result", result)]);
    }
}

/// Counts a connection while it is open.
pub(crate) struct OpenConnection(Metrics);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.inner.connections.add(-1, &[]);
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! What is looked at when somebody asks for metrics, rather than counted as it happens.

use crate::layers::InFlight;
use crate::tls::Tls;
use chancery_audit::LogHealth;
use chancery_core::Chancery;
use chancery_hsm::{Token, TokenHealth};
use chancery_model::Id;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

/// Where to look.
pub(crate) struct Observed {
    pub(crate) core: Chancery,
    pub(crate) tokens: BTreeMap<Id, Token>,
    pub(crate) in_flight: InFlight,
    pub(crate) tls: Tls,
}

impl Observed {
    /// Registers the instruments; they look as long as the meter's provider lives.
    pub(crate) fn register(self, meter: &Meter) {
        let Self { core, tokens, in_flight, tls } = self;
        let tokens: Vec<(Token, [KeyValue; 1])> =
            tokens.into_iter().map(|(id, token)| (token, [KeyValue::new("chancery.token", id.to_string())])).collect();
        meter
            .u64_observable_gauge("chancery.record.open")
            .with_description("1 while the record can be written, 0 from the moment it cannot")
            .with_callback(move |gauge| {
                gauge.observe(u64::from(matches!(core.health().record, LogHealth::Open)), &[]);
            })
            .build();
        let per_token = |name: &'static str, unit: &'static str, description: &'static str, look: fn(&Token) -> u64| {
            let tokens = tokens.clone();
            meter
                .u64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |gauge| {
                    for (token, attributes) in &tokens {
                        gauge.observe(look(token), attributes);
                    }
                })
                .build();
        };
        per_token("chancery.token.up", "", "1 while the token signs", |token| {
            u64::from(matches!(token.status().health, TokenHealth::Up))
        });
        per_token("chancery.token.queued", "{call}", "Calls that wait for a signing thread", |token| {
            count(token.status().queued)
        });
        per_token("chancery.token.in_flight", "{call}", "Calls that the worker has", |token| {
            count(token.status().in_flight)
        });
        per_token("chancery.token.restarts", "{restart}", "Workers replaced since the service started", |token| {
            token.status().restarts
        });
        meter
            .u64_observable_gauge("chancery.calls.in_flight")
            .with_unit("{call}")
            .with_description("Calls under way")
            .with_callback(move |gauge| gauge.observe(count(in_flight.now()), &[]))
            .build();
        meter
            .u64_observable_gauge("chancery.tls.certificate.not_after")
            .with_unit("s")
            .with_description("When the service's certificate expires, in seconds since 1970")
            .with_callback(move |gauge| {
                let not_after = tls.current().not_after.duration_since(UNIX_EPOCH);
                gauge.observe(not_after.map_or(0, |since| since.as_secs()), &[]);
            })
            .build();
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

//! What is looked at when somebody asks for metrics, rather than counted as it happens.

use super::{NONE, OTHER};
use crate::layers::InFlight;
use crate::tls::{Crl, Freshness, Tls};
use chancery_audit::LogHealth;
use chancery_core::{
    ApiKeyCensus, ArchiveTrouble, Chancery, CheckpointStanding, NewestCheckpoint, StateStanding, WitnessTrouble,
};
use chancery_hsm::{HealthCause, Token, TokenState};
use chancery_model::{Id, KeyName, Timestamp};
use chancery_oidc::{Issuer, Issuers, KeysState};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many keys are shown by name; the oldest of each ring's others is shown as `_other`.
const MAX_KEYS: usize = 500;

/// Where to look.
pub(crate) struct Observed {
    pub(crate) core: Chancery,
    pub(crate) tokens: BTreeMap<Id, Token>,
    pub(crate) in_flight: InFlight,
    pub(crate) tls: Tls,
    pub(crate) issuers: Issuers,
}

impl Observed {
    /// Registers the instruments; they look as long as the meter's provider lives.
    pub(crate) fn register(self, meter: &Meter) {
        let Self { core, tokens, in_flight, tls, issuers } = self;
        observe_issuers(meter, issuers);
        observe_state(meter, &core);
        let tokens: Vec<(Token, [KeyValue; 1])> =
            tokens.into_iter().map(|(id, token)| (token, [KeyValue::new("chancery.token", id.to_string())])).collect();
        let api_keys = core.clone();
        meter
            .u64_observable_gauge("chancery.api_keys")
            .with_unit("{key}")
            .with_description("API keys, by how they are: active, expiring, dormant, expired, revoked")
            .with_callback(move |gauge| {
                let ApiKeyCensus { active, expiring, dormant, expired, revoked } = api_keys.api_key_census();
                for (state, count) in [
                    ("active", active),
                    ("expiring", expiring),
                    ("dormant", dormant),
                    ("expired", expired),
                    ("revoked", revoked),
                ] {
                    gauge.observe(count, &[KeyValue::new("chancery.state", state)]);
                }
            })
            .build();
        let keys = core.clone();
        meter
            .u64_observable_gauge("chancery.key.primary.generated")
            .with_unit("s")
            .with_description("When a key's primary version was made, in seconds since 1970")
            .with_callback(move |gauge| {
                for (attributes, generated) in ages(keys.primary_versions()) {
                    gauge.observe(generated, &attributes);
                }
            })
            .build();
        let rings = core.clone();
        meter
            .u64_observable_gauge("chancery.key_ring.frozen")
            .with_description("1 while the key ring is frozen, 0 otherwise")
            .with_callback(move |gauge| {
                for (ring, frozen) in rings.frozen_key_rings() {
                    gauge.observe(frozen.into(), &[KeyValue::new("chancery.key_ring", ring.to_string())]);
                }
            })
            .build();
        observe_checkpoints(meter, &core);
        observe_archive(meter, &core);
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
            u64::from(token.status().health.state.serves())
        });
        let watched = tokens.clone();
        meter
            .u64_observable_gauge("chancery.token.state")
            .with_description("1 for the state that the token is in, 0 for the others")
            .with_callback(move |gauge| {
                for (token, [id]) in &watched {
                    let now = token.status().health.state;
                    for state in TokenState::ALL {
                        let attributes = [id.clone(), KeyValue::new("chancery.state", state.as_str())];
                        gauge.observe(u64::from(state == now), &attributes);
                    }
                }
            })
            .build();
        let watched = tokens.clone();
        meter
            .u64_observable_counter("chancery.token.transitions")
            .with_unit("{transition}")
            .with_description("Times that the token came into a state, by its cause")
            .with_callback(move |counter| {
                for (token, [id]) in &watched {
                    for (state, cause, times) in token.transitions() {
                        let cause = cause.map_or(NONE, HealthCause::as_str);
                        let state = KeyValue::new("chancery.state", state.as_str());
                        counter.observe(times, &[id.clone(), state, KeyValue::new("chancery.cause", cause)]);
                    }
                }
            })
            .build();
        per_token("chancery.token.breaker.open", "", "1 while workers are not replaced on request", |token| {
            u64::from(token.breaker_is_open())
        });
        per_token(
            "chancery.token.replacements.held_back",
            "{request}",
            "Requests of workers to be replaced that were refused, since one had been a moment ago",
            |token| token.status().replacements_held_back,
        );
        per_token("chancery.token.worker.memory", "By", "Resident memory of the worker; 0 without one", |token| {
            token.status().worker_memory_bytes.unwrap_or(0)
        });
        per_token("chancery.token.worker.memory.limit", "By", "Above so much the worker is replaced", |token| {
            token.status().worker_memory_limit_bytes
        });
        per_token("chancery.token.worker.threads", "{thread}", "Threads of the worker; 0 without one", |token| {
            token.status().worker_threads.unwrap_or(0).into()
        });
        per_token("chancery.token.lanes.configured", "{lane}", "Threads that were asked for", |token| {
            count(token.status().signing_threads_configured)
        });
        per_token("chancery.token.lanes", "{lane}", "Threads that sign, each with its own session", |token| {
            count(token.status().signing_threads)
        });
        per_token("chancery.token.sessions", "{session}", "Sessions that the worker has open", |token| {
            token.status().sessions_open
        });
        per_token(
            "chancery.token.sessions.limit",
            "{session}",
            "Sessions that the token allows; 0 where it sets no limit",
            |token| token.status().sessions_max.unwrap_or(0),
        );
        per_token("chancery.token.queued", "{call}", "Calls that wait for a signing thread", |token| {
            count(token.status().queued)
        });
        per_token(
            "chancery.token.callers_waiting",
            "{caller}",
            "Callers whose calls wait for a signing thread",
            |token| count(token.flows_waiting()),
        );
        per_token("chancery.token.in_flight", "{call}", "Calls that the worker has", |token| {
            count(token.status().in_flight)
        });
        per_token("chancery.token.restarts", "{restart}", "Workers replaced since the service started", |token| {
            token.status().restarts
        });
        let limit = count(in_flight.limit());
        meter
            .u64_observable_gauge("chancery.calls.in_flight.limit")
            .with_unit("{call}")
            .with_description("Calls that may be under way at once")
            .with_callback(move |gauge| gauge.observe(limit, &[]))
            .build();
        meter
            .u64_observable_gauge("chancery.calls.in_flight")
            .with_unit("{call}")
            .with_description("Calls under way")
            .with_callback(move |gauge| gauge.observe(count(in_flight.now()), &[]))
            .build();
        meter
            .u64_observable_gauge("chancery.build.info")
            .with_description("1; what runs is in the attributes")
            .with_callback(|gauge| gauge.observe(1, &[KeyValue::new("chancery.version", env!("CARGO_PKG_VERSION"))]))
            .build();
        let watched = tls.clone();
        meter
            .u64_observable_gauge("chancery.tls.crl.next_update")
            .with_unit("s")
            .with_description("By when the next CRL is to be there, in seconds since 1970")
            .with_callback(move |gauge| {
                for crl in watched.current().authorities.crls() {
                    let next_update = crl.next_update.duration_since(UNIX_EPOCH);
                    gauge.observe(next_update.map_or(0, |since| since.as_secs()), &[crl_attribute(crl)]);
                }
            })
            .build();
        let watched = tls.clone();
        meter
            .u64_observable_gauge("chancery.tls.crl.state")
            .with_description("1 for the state that the CRL is in, 0 for the others")
            .with_callback(move |gauge| {
                let now = SystemTime::now();
                for crl in watched.current().authorities.crls() {
                    let state = crl.freshness(now);
                    for (other, name) in
                        [(Freshness::Fresh, "fresh"), (Freshness::Due, "due"), (Freshness::Stale, "stale")]
                    {
                        let attributes = [crl_attribute(crl), KeyValue::new("chancery.state", name)];
                        gauge.observe(u64::from(state == other), &attributes);
                    }
                }
            })
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

/// Nothing is shown where the log is not signed, and no age before the first checkpoint.
fn observe_checkpoints(meter: &Meter, core: &Chancery) {
    type Look = fn(&CheckpointStanding) -> Option<&NewestCheckpoint>;
    let newest: Look = |standing| standing.newest.as_deref();
    let counted: Look = |standing| standing.counted.as_deref();
    let gauge = |name: &'static str,
                 unit: &'static str,
                 description: &'static str,
                 look: fn(&Chancery, Look) -> Option<u64>,
                 of: Look| {
        let watched = core.clone();
        meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |gauge| {
                if let Some(number) = look(&watched, of) {
                    gauge.observe(number, &[]);
                }
            })
            .build();
    };
    let uncovered = |core: &Chancery, of: Look| {
        let standing = core.checkpoints()?;
        Some(core.records().saturating_sub(of(&standing).map_or(0, NewestCheckpoint::size)))
    };
    let age = |core: &Chancery, of: Look| {
        let signed = of(&core.checkpoints()?)?.signed.unix_micros();
        Some(u64::try_from(Timestamp::now().unix_micros().saturating_sub(signed) / 1_000_000).unwrap_or(0))
    };
    gauge("chancery.log.unsigned", "{record}", "Records that no checkpoint covers yet", uncovered, newest);
    gauge("chancery.log.checkpoint.age", "s", "How long ago the newest checkpoint was signed", age, newest);
    let description =
        "Records that no checkpoint covers yet which counts: which as many witnesses as required have cosigned";
    gauge("chancery.log.uncounted", "{record}", description, uncovered, counted);
    let description = "How long ago the newest checkpoint that counts was signed";
    gauge("chancery.log.counted_checkpoint.age", "s", description, age, counted);
    let watched = core.clone();
    meter
        .u64_observable_gauge("chancery.log.damaged")
        .with_description("1 once what is kept of the log was seen not to be what was signed, until the next start")
        .with_callback(move |gauge| {
            if let Some(standing) = watched.checkpoints() {
                gauge.observe(u64::from(standing.damaged), &[]);
            }
        })
        .build();
    let watched = core.clone();
    meter
        .u64_observable_gauge("chancery.log.witness.state")
        .with_description("1 for the state that the witness is in, 0 for the others")
        .with_callback(move |gauge| {
            for witness in watched.checkpoints().into_iter().flat_map(|standing| standing.witnesses) {
                let now = WitnessTrouble::state(witness.trouble);
                for state in WitnessTrouble::STATES {
                    let name = KeyValue::new("chancery.witness", witness.name.as_str().to_owned());
                    gauge.observe(u64::from(state == now), &[name, KeyValue::new("chancery.state", state)]);
                }
            }
        })
        .build();
}

/// How much of the log is in the archive, and whether that can be read.
fn observe_archive(meter: &Meter, core: &Chancery) {
    let archived = core.clone();
    meter
        .u64_observable_gauge("chancery.log.archived")
        .with_unit("{record}")
        .with_description("Records whose leaves are in the archive, and no longer in the database")
        .with_callback(move |gauge| gauge.observe(archived.archive().records, &[]))
        .build();
    let archive = core.clone();
    meter
        .u64_observable_gauge("chancery.log.archive.readable")
        .with_description("1 while the archive can be read, or nothing is in it; 0 while it cannot")
        .with_callback(move |gauge| {
            let unreadable = archive.archive().trouble == Some(ArchiveTrouble::Unreadable);
            gauge.observe(u64::from(!unreadable), &[]);
        })
        .build();
}

/// Whether the state is known to be the one that was sealed, and whether its anchor can be written.
fn observe_state(meter: &Meter, core: &Chancery) {
    let standing = core.clone();
    meter
        .u64_observable_gauge("chancery.state.standing")
        .with_description("1 for what is known of the state: checked, unchecked, not-sealed; 0 for the others")
        .with_callback(move |gauge| {
            let now = match standing.health().state {
                StateStanding::Checked => "checked",
                StateStanding::Unchecked { .. } => "unchecked",
                StateStanding::NotSealed => "not-sealed",
            };
            for state in ["checked", "unchecked", "not-sealed"] {
                gauge.observe(u64::from(state == now), &[KeyValue::new("chancery.state", state)]);
            }
        })
        .build();
    let anchor = core.clone();
    meter
        .u64_observable_gauge("chancery.anchor.written")
        .with_description("1 while the anchor of the state can be written, 0 while it cannot")
        .with_callback(move |gauge| gauge.observe(u64::from(anchor.health().anchor.is_none()), &[]))
        .build();
}

fn observe_issuers(meter: &Meter, issuers: Issuers) {
    let named = |issuer: &Issuer| KeyValue::new("chancery.issuer", issuer.name().to_owned());
    let watched = issuers.clone();
    meter
        .u64_observable_gauge("chancery.oidc.keys.state")
        .with_description("1 for the state that the issuer's keys are in, 0 for the others")
        .with_callback(move |gauge| {
            for issuer in watched.iter() {
                let now = issuer.state();
                for state in KeysState::ALL {
                    let attributes = [named(issuer), KeyValue::new("chancery.state", state.as_str())];
                    gauge.observe(u64::from(state == now), &attributes);
                }
            }
        })
        .build();
    meter
        .u64_observable_gauge("chancery.oidc.keys.age")
        .with_unit("s")
        .with_description("How long ago the issuer's keys were read")
        .with_callback(move |gauge| {
            for issuer in issuers.iter() {
                if let Some(age) = issuer.age() {
                    gauge.observe(age.as_secs(), &[named(issuer)]);
                }
            }
        })
        .build();
}

/// The file, as the configuration names it.
fn crl_attribute(crl: &Crl) -> KeyValue {
    KeyValue::new("chancery.crl", crl.path.display().to_string())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// When the primary version of each key was made, in seconds since 1970: of the oldest by name, and of the oldest of the
/// others in each ring.
fn ages(mut keys: Vec<(KeyName, Timestamp)>) -> Vec<([KeyValue; 2], u64)> {
    keys.sort_by(|(name, made), (other, then)| (made, name).cmp(&(then, other)));
    let point = |ring: &Id, key: String, made: Timestamp| {
        let attributes = [KeyValue::new("chancery.key_ring", ring.to_string()), KeyValue::new("chancery.key", key)];
        (attributes, u64::try_from(made.unix_micros() / 1_000_000).unwrap_or(0))
    };
    let mut others = BTreeMap::new();
    for (name, made) in keys.iter().skip(MAX_KEYS) {
        others.entry(&name.ring).or_insert(*made);
    }
    let named = keys.iter().take(MAX_KEYS).map(|(name, made)| point(&name.ring, name.key.to_string(), *made));
    named.chain(others.into_iter().map(|(ring, made)| point(ring, OTHER.to_owned(), made))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_keys_are_named_and_the_others_stand_for_their_ring() {
        let key = |number: usize| {
            let name: KeyName = format!("keyRings/r{}/keys/k{number}", number % 2).parse().unwrap();
            (name, Timestamp::from_unix_micros(i64::try_from(number).unwrap() * 1_000_000))
        };
        // The youngest first.
        let ages = ages((0..MAX_KEYS + 10).rev().map(key).collect());
        assert_eq!(ages.len(), MAX_KEYS + 2, "one more for each ring");
        let shown = |place: usize| {
            let ([ring, key], generated) = &ages[place];
            (ring.value.to_string(), key.value.to_string(), *generated)
        };
        assert_eq!(shown(0), ("r0".to_owned(), "k0".to_owned(), 0));
        assert_eq!(shown(MAX_KEYS), ("r0".to_owned(), OTHER.to_owned(), MAX_KEYS as u64));
        assert_eq!(shown(MAX_KEYS + 1), ("r1".to_owned(), OTHER.to_owned(), MAX_KEYS as u64 + 1));
    }
}

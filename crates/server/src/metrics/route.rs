//! How long the stages of a signature take, and what the record's group commit gathers.

use super::decisions::{Decided, Decisions};
use super::exemplars::{Durations, Exemplars, Series, sampled_span};
use chancery_audit::GroupWritten;
use chancery_core::Observation;
use chancery_hsm::HsmErrorKind;
use chancery_model::Id;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use std::collections::HashMap;

/// Bounds in seconds for what takes microseconds: from 10 us to 0.1 s.
const SHORT: [f64; 12] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1];

/// Bounds in seconds for disks and devices: from 50 us to 10 s.
const LONG: [f64; 16] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Bounds of group sizes.
const SIZES: [f64; 10] = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The instruments.
pub(super) struct Route {
    /// Whether spans are exported, and so whether there can be exemplars.
    traced: bool,
    decisions: Decisions,
    policy_allow: Series,
    policy_deny: Series,
    record_wait: Series,
    record_commit: Series,
    record_group: Histogram<u64>,
    record_leaves: Counter<u64>,
    tokens: HashMap<Id, Stages>,
    token_failures: Counter<u64>,
    by_rule: Counter<u64>,
    retention: Counter<u64>,
    archive: Counter<u64>,
}

/// The stages in one token.
struct Stages {
    queue: Series,
    device: Series,
    verify: Series,
}

impl Route {
    pub(super) fn new<'a>(
        meter: &Meter,
        exemplars: &Exemplars,
        tokens: impl Iterator<Item = &'a Id>,
        traced: bool,
    ) -> Self {
        let policy = "How long policy took to decide, by decision";
        let policy = Durations::new(meter, exemplars, "chancery.policy.duration", policy, &SHORT);
        let decision = |decision| policy.series(vec![KeyValue::new("chancery.decision", decision)]);
        let wait = "How long a call waited until its intents were durable";
        let commit = "How long one group of records took from its first statement until the disk had it";
        let stage =
            "How long a signature or a MAC was in each stage, by token: queue, device (the worker has it), verify";
        let stages = Durations::new(meter, exemplars, "chancery.token.stage.duration", stage, &LONG);
        let stages = |token: &Id| {
            let stage = |stage| {
                let token = KeyValue::new("chancery.token", token.to_string());
                stages.series(vec![token, KeyValue::new("chancery.stage", stage)])
            };
            Stages { queue: stage("queue"), device: stage("device"), verify: stage("verify") }
        };
        Self {
            traced,
            decisions: Decisions::new(meter),
            policy_allow: decision("allow"),
            policy_deny: decision("deny"),
            record_wait: Durations::new(meter, exemplars, "chancery.record.wait.duration", wait, &LONG)
                .series(Vec::new()),
            record_commit: Durations::new(meter, exemplars, "chancery.record.commit.duration", commit, &LONG)
                .series(Vec::new()),
            record_group: meter
                .u64_histogram("chancery.record.group.size")
                .with_unit("{intent}")
                .with_description("How many intents were made durable together")
                .with_boundaries(SIZES.to_vec())
                .build(),
            record_leaves: meter
                .u64_counter("chancery.record.leaves")
                .with_unit("{leaf}")
                .with_description("Leaves written to the record, of all kinds")
                .build(),
            tokens: tokens.map(|token| (token.clone(), stages(token))).collect(),
            token_failures: meter
                .u64_counter("chancery.token.failures")
                .with_unit("{signature}")
                .with_description("Signatures and MACs that a token did not make, by token and kind of failure")
                .build(),
            by_rule: meter
                .u64_counter("chancery.key.rules")
                .with_unit("{act}")
                .with_description("What the rules of keys asked for when it was due, by rule and result")
                .build(),
            retention: meter
                .u64_counter("chancery.record.retention")
                .with_unit("{look}")
                .with_description("Looks for details of records that are old enough to be erased, by result")
                .build(),
            archive: meter
                .u64_counter("chancery.record.archive")
                .with_unit("{look}")
                .with_description("Looks for leaves of records that are old enough to be archived, by result")
                .build(),
        }
    }

    /// Something has happened, on the present task.
    pub(super) fn observe(&self, observation: Observation<'_>) {
        let trace = self.traced.then(sampled_span).flatten();
        match observation {
            Observation::Decided { action, ring, key, refused, took } => {
                self.decisions.count(ring, key, Decided { action, refused });
                // What does not exist is refused without asking policy.
                if ring.is_some() || key.is_some() || !took.is_zero() {
                    let series = if refused.is_none() { &self.policy_allow } else { &self.policy_deny };
                    series.record(took, trace.as_ref());
                }
            }
            Observation::Recorded { took } => self.record_wait.record(took, trace.as_ref()),
            Observation::Asked { token, end: Ok(times) } => {
                // What could be answered without the token was in no stage.
                if let Some(stages) = self.tokens.get(token).filter(|_| !times.device.is_zero()) {
                    stages.queue.record(times.queue, trace.as_ref());
                    stages.device.record(times.device, trace.as_ref());
                    // A MAC is not verified in the service.
                    if !times.verify.is_zero() {
                        stages.verify.record(times.verify, trace.as_ref());
                    }
                }
            }
            Observation::Asked { token, end: Err(kind) } => self.failed(token, kind),
            Observation::ByRule { due, failed } => {
                let rule = KeyValue::new("chancery.rule", due.as_str());
                self.by_rule.add(1, &[rule, result(failed)]);
            }
            Observation::Retention { failed } => self.retention.add(1, &[result(failed)]),
            Observation::Archive { failed } => self.archive.add(1, &[result(failed)]),
        }
    }

    fn failed(&self, token: &Id, kind: HsmErrorKind) {
        let token = KeyValue::new("chancery.token", token.to_string());
        self.token_failures.add(1, &[token, KeyValue::new("chancery.kind", kind.as_str())]);
    }

    /// A group of records is durable.
    pub(super) fn written(&self, GroupWritten { intents, records, took }: GroupWritten) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.record_commit.record(took, None);
        self.record_group.record(number(intents), &[]);
        self.record_leaves.add(number(records), &[]);
    }
}

fn result(failed: bool) -> KeyValue {
    KeyValue::new("chancery.result", if failed { "failed" } else { "succeeded" })
}

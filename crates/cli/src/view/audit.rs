//! Records.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chancery_api::v1;
use chancery_audit::{Body, Leaf};
use serde::Serialize;
use serde_json::Value;

use super::{time, word};
use crate::input::{base64, hex};
use crate::names::shorten;
use crate::output::{View, rows};

/// A record.
#[derive(Debug, Serialize)]
pub struct RecordView {
    index: u64,
    kind: String,
    time: String,
    caller: String,
    action: String,
    resource: String,
    /// Of a denial: why. A word of the record's.
    reason: Option<&'static str>,
    /// Of an outcome: how each intent or act ended.
    outcomes: Vec<OutcomeView>,
    /// Of an intent or act that has ended: the record that says how.
    outcome_index: Option<u64>,
    /// Where the details were erased on the record: the act that says so.
    erasure_index: Option<u64>,
    /// As they were committed to; null once erased.
    details: Value,
    leaf: String,
    salt: String,
    /// The exact bytes that the leaf commits to: `details` may be written otherwise.
    details_json: String,
}

/// How one intent or act ended.
#[derive(Debug, Serialize)]
pub struct OutcomeView {
    record_index: u64,
    result: String,
    signature_sha256: String,
}

impl From<v1::RecordedOutcome> for OutcomeView {
    fn from(outcome: v1::RecordedOutcome) -> Self {
        let v1::RecordedOutcome { record_index, result, signature_sha256 } = outcome;
        Self { record_index, result, signature_sha256: hex(&signature_sha256) }
    }
}

impl RecordView {
    /// What people look at.
    fn columns(&self) -> [String; 8] {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        [
            self.index.to_string(),
            self.time.clone(),
            self.kind.clone(),
            or_dash(self.caller.strip_prefix("callers/").unwrap_or(&self.caller)),
            or_dash(&self.action),
            or_dash(&shorten(&self.resource)),
            or_dash(self.reason.unwrap_or_default()),
            or_dash(&self.ends()),
        ]
    }

    /// `3: DONE` of one outcome; `2 DONE, 1 FAILED` of several: a batch has up to 256.
    fn ends(&self) -> String {
        if let [only] = self.outcomes.as_slice() {
            return format!("{}: {}", only.record_index, only.result);
        }
        let mut counts = BTreeMap::<&str, usize>::new();
        for outcome in &self.outcomes {
            *counts.entry(&outcome.result).or_default() += 1;
        }
        counts.iter().map(|(result, count)| format!("{count} {result}")).collect::<Vec<_>>().join(", ")
    }
}

impl From<v1::AuditRecord> for RecordView {
    fn from(record: v1::AuditRecord) -> Self {
        let v1::AuditRecord {
            index,
            kind,
            time: timestamp,
            caller,
            action,
            resource,
            outcomes,
            details: _, // the same as details_json, which is exact
            leaf,
            details_json,
            salt,
            outcome_index,
            erasure_index,
        } = record;
        let name = v1::RecordKind::try_from(kind).ok().map(|known| known.as_str_name());
        Self {
            index,
            kind: word(name, "RECORD_KIND_", kind),
            time: time(timestamp),
            caller,
            action,
            resource,
            reason: reason(&leaf),
            outcomes: outcomes.into_iter().map(OutcomeView::from).collect(),
            outcome_index,
            erasure_index,
            details: serde_json::from_slice(&details_json).unwrap_or(Value::Null),
            leaf: base64(&leaf),
            salt: hex(&salt),
            details_json: base64(&details_json),
        }
    }
}

/// Why somebody was refused, where the leaf is that of a denial.
fn reason(leaf: &[u8]) -> Option<&'static str> {
    match Leaf::decode(leaf).ok()?.body {
        Body::Denial { reason, .. } => Some(reason.as_str()),
        _ => None,
    }
}

/// Records.
#[derive(Debug, Serialize)]
pub struct RecordList {
    /// In the order that was asked for.
    pub records: Vec<RecordView>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// A record, one of many that come one after the other.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct RecordLine(pub RecordView);

impl View for RecordLine {
    // Columns as wide as what mostly stands in them: what follows is not known yet.
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let [index, time, kind, caller, action, resource, reason, ends] = self.0.columns();
        writeln!(
            out,
            "{index:<8}  {time:<27}  {kind:<7}  {caller:<16}  {action:<18}  {resource:<24}  {reason:<16}  {ends}"
        )
    }
}

impl View for RecordList {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = ["INDEX", "TIME", "KIND", "CALLER", "ACTION", "RESOURCE", "REASON", "OUTCOME"];
        rows(out, header, self.records.iter().map(RecordView::columns))?;
        if self.more {
            writeln!(out, "(there are more: --limit, or --since and --until)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_shows_its_details_as_they_were_committed_to() {
        let record = v1::AuditRecord {
            index: 3,
            kind: 1,
            caller: "callers/billing".to_owned(),
            action: "Sign".to_owned(),
            resource: "keyRings/dev/keys/k/versions/1".to_owned(),
            details_json: br#"{"b":1,"a":[2]}"#.to_vec(),
            ..Default::default()
        };
        let view = RecordView::from(record);
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["kind"], "INTENT");
        assert_eq!(json["details"]["a"][0], 2);
        let mut out = Vec::new();
        RecordList { records: vec![view], more: true }.write_table(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("billing  Sign") && text.contains("dev/k/1") && text.contains("there are more"),
            "{text}"
        );
    }

    #[test]
    fn a_denial_says_why() {
        let subject = Body::Denial {
            caller: chancery_model::Uid::NONE,
            resource: chancery_model::Uid::NONE,
            action: Some(chancery_model::Action::Sign),
            reason: chancery_audit::DenialReason::UnknownResource,
            count: 7,
        };
        let leaf = Leaf {
            epoch: 1,
            time: chancery_model::Timestamp::from_unix_micros(1_000_000),
            instance: chancery_model::Id::parse("the instance", "one").unwrap(),
            body: subject,
            commitment: [0; 32],
        };
        let mut bytes = Vec::new();
        leaf.encode(&mut bytes);
        let view = RecordView::from(v1::AuditRecord { index: 3, kind: 4, leaf: bytes, ..Default::default() });
        assert_eq!(serde_json::to_value(&view).unwrap()["reason"], "UNKNOWN_RESOURCE");
        let mut out = Vec::new();
        RecordList { records: vec![view], more: false }.write_table(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("REASON") && text.contains("UNKNOWN_RESOURCE"), "{text}");
    }

    #[test]
    fn an_outcome_says_how_which_intents_ended() {
        let outcome = |record_index, result: &str| v1::RecordedOutcome {
            record_index,
            result: result.to_owned(),
            signature_sha256: vec![0xaa; 32],
        };
        let record =
            v1::AuditRecord { kind: 2, outcomes: vec![outcome(7, "DONE"), outcome(8, "FAILED")], ..Default::default() };
        let view = RecordView::from(record);
        assert_eq!(view.ends(), "1 DONE, 1 FAILED");
        assert_eq!(serde_json::to_value(&view).unwrap()["outcomes"][0]["signature_sha256"], "aa".repeat(32));
    }

    #[test]
    fn erased_details_are_null() {
        let json = serde_json::to_value(RecordView::from(v1::AuditRecord::default())).unwrap();
        assert_eq!(json["details"], Value::Null);
    }
}

//! Records.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chancery_api::v1;
use chancery_audit::{Body, Leaf, OutcomeItem};
use chancery_model::Uid;
use serde::Serialize;
use serde_json::Value;

use super::{time, word};
use crate::input::{base64, hex};
use crate::names::shorten;
use crate::output::{View, line, rows};

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
    /// Whose names were erased with the details: people see that there were some.
    #[serde(skip)]
    erased: Erased,
    /// As they were committed to; null once erased.
    details: Value,
    leaf: String,
    salt: String,
    /// The exact bytes that the leaf commits to: `details` may be written otherwise.
    details_json: String,
}

/// What a record without details was about, though nobody can say any more what it was called.
#[derive(Debug, Clone, Copy, Default)]
struct Erased {
    caller: bool,
    resource: bool,
}

impl Erased {
    fn of(leaf: &Leaf, details_json: &[u8]) -> Self {
        // An outcome names its caller in the details alone, and a denial what was asked for and is not there.
        let (outcome, denial) = (matches!(leaf.body, Body::Outcome { .. }), matches!(leaf.body, Body::Denial { .. }));
        let erased = details_json.is_empty();
        Self {
            caller: erased && (outcome || leaf.caller() != Uid::NONE),
            resource: erased && (denial || leaf.resource() != Uid::NONE),
        }
    }
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

impl OutcomeView {
    /// Of each intent or act that a record says to have ended.
    pub fn all(leaf: &Leaf) -> Vec<Self> {
        let Body::Outcome { items, .. } = &leaf.body else { return Vec::new() };
        let one = |OutcomeItem { intent, result, signature_sha256 }: &OutcomeItem| Self {
            record_index: *intent,
            result: result.as_str().to_owned(),
            signature_sha256: signature_sha256.map(|hash| hex(&hash)).unwrap_or_default(),
        };
        items.iter().map(one).collect()
    }
}

impl RecordView {
    /// What people look at.
    fn columns(&self) -> [String; 8] {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let or_erased = |text: &str, erased: bool| if erased { "(erased)".to_owned() } else { or_dash(text) };
        [
            self.index.to_string(),
            self.time.clone(),
            self.kind.clone(),
            or_erased(self.caller.strip_prefix("callers/").unwrap_or(&self.caller), self.erased.caller),
            or_dash(&self.action),
            or_erased(&shorten(&self.resource), self.erased.resource),
            or_dash(&self.why()),
            or_dash(&self.ends()),
        ]
    }

    /// Of a denial its reason; of an act of the service's own, which has no action, what it says of itself.
    fn why(&self) -> String {
        match (self.reason, self.details.get("message").and_then(Value::as_str)) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(message)) if self.action.is_empty() => beginning(message),
            (None, _) => String::new(),
        }
    }

    /// `3: DONE` of one outcome; `2 DONE, 1 FAILED` of several: a batch has up to 256. Of what has ended, where that is said.
    fn ends(&self) -> String {
        if let Some(index) = self.outcome_index {
            return format!("see {index}");
        }
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
        let decoded = Leaf::decode(&leaf).ok();
        Self {
            index,
            kind: word(name, "RECORD_KIND_", kind),
            time: time(timestamp),
            caller,
            action,
            resource,
            reason: decoded.as_ref().and_then(reason),
            erased: decoded.map(|leaf| Erased::of(&leaf, &details_json)).unwrap_or_default(),
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
fn reason(leaf: &Leaf) -> Option<&'static str> {
    match &leaf.body {
        Body::Denial { reason, .. } => Some(reason.as_str()),
        _ => None,
    }
}

/// The first words of a message, for a column.
fn beginning(message: &str) -> String {
    const MOST: usize = 48;
    let line = message.lines().next().unwrap_or_default();
    let Some((end, _)) = line.char_indices().nth(MOST) else { return line.to_owned() };
    let beginning = line.get(..end).unwrap_or(line);
    format!("{}...", beginning.rsplit_once(' ').map_or(beginning, |(whole_words, _)| whole_words))
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
        let text = format!(
            "{index:<8}  {time:<27}  {kind:<7}  {caller:<16}  {action:<18}  {resource:<24}  {reason:<16}  {ends}"
        );
        line(out, &text)
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

    fn shown(body: Body, record: v1::AuditRecord) -> String {
        let leaf = Leaf {
            epoch: 1,
            time: chancery_model::Timestamp::from_unix_micros(1_000_000),
            instance: chancery_model::Id::parse("the instance", "one").unwrap(),
            body,
            commitment: [0; 32],
        };
        let mut bytes = Vec::new();
        leaf.encode(&mut bytes);
        let view = RecordView::from(v1::AuditRecord { index: 3, leaf: bytes, ..record });
        view.columns()[3..].join("|")
    }

    #[test]
    fn a_row_says_what_was_erased_where_it_ended_and_what_the_service_did_by_itself() {
        let subject = |caller, resource, action| chancery_audit::Subject {
            caller,
            resource,
            action,
            decision: chancery_audit::Decision::Allow,
            policy_set: [0; 32],
        };
        let (some, none) = (Uid::from_bytes([1; 16]), Uid::NONE);
        let intent = Body::Intent(subject(some, some, Some(chancery_model::Action::Sign)));
        let record = v1::AuditRecord { action: "Sign".to_owned(), outcome_index: Some(4), ..Default::default() };
        assert_eq!(shown(intent.clone(), record), "(erased)|Sign|(erased)|-|see 4");
        let whole = v1::AuditRecord {
            caller: "callers/shop".to_owned(),
            action: "Sign".to_owned(),
            resource: "keyRings/dev/keys/k/versions/1".to_owned(),
            details_json: br#"{"message":"said of an action that is named"}"#.to_vec(),
            ..Default::default()
        };
        assert_eq!(shown(intent, whole), "shop|Sign|dev/k/1|-|-");
        let own = Body::Act { subject: subject(none, none, None), opens: false, continues: false, rows: Vec::new() };
        let said = br#"{"message":"by rule, signature_details_days = 30: the details of 7 intents"}"#.to_vec();
        let record = v1::AuditRecord { details_json: said, ..Default::default() };
        assert_eq!(shown(own.clone(), record), "-|-|-|by rule, signature_details_days = 30: the...|-");
        assert_eq!(shown(own, v1::AuditRecord::default()), "-|-|-|-|-", "the service's own has nobody's name to erase");
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

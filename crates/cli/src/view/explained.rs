//! One record, explained to a person.

use std::fmt::Write as _;
use std::io::{self, Write};

use chancery_api::v1;
use chancery_audit::{
    AuthenticationDetails, Body, Details, Erased, ErasureSaid, ItemDetails, Leaf, OutcomeItem, OutcomeResult, RowTable,
    Subject, commitment_to_details,
};
use chancery_model::Uid;
use serde::Serialize;

use super::audit::RecordView;
use super::moment;
use super::vouched::Vouched;
use crate::exit::Failure;
use crate::input::hex;
use crate::output::{View, fields, line};

/// A record, what it says in words, and whether its leaf bears it out.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// In a sentence.
    summary: String,
    /// Whether the leaf commits to the details; of an intent or act that has ended, whether that of the outcome does, too.
    commitment: Commitment,
    /// Whether the record's own does.
    #[serde(skip)]
    own: Commitment,
    /// Whether the caller's own signature of its request holds, where it made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_signature: Option<Vouched>,
    record: RecordView,
    /// The record that says how it ended, if it is an intent or act that has.
    outcome: Option<RecordView>,
    /// Whether that one says how the record ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome_names_it: Option<bool>,
    /// The act that says by which rule its details were erased, if they were.
    erasure: Option<RecordView>,
    /// What people read, line by line; programs have `record`.
    #[serde(skip)]
    lines: Vec<(&'static str, String)>,
}

/// Whether a leaf commits to the details beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Commitment {
    /// The details are what was recorded.
    Holds,
    /// The details were erased: what they said cannot be known, nor guesses of it confirmed.
    Erased,
    /// The details are not there, and no act of the service behind the record says that they were erased.
    Removed,
    /// The details are not what was recorded.
    Broken,
}

impl Commitment {
    fn of(leaf: &Leaf, record: &v1::AuditRecord) -> Self {
        if record.salt.is_empty() && record.details_json.is_empty() {
            return Self::Erased;
        }
        let salt: Option<[u8; 32]> = record.salt.as_slice().try_into().ok();
        match salt.map(|salt| commitment_to_details(&salt, &record.details_json)) {
            Some(commitment) if commitment == leaf.commitment => Self::Holds,
            _ => Self::Broken,
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Holds => "holds: the leaf commits to exactly these details",
            Self::Erased => "the details were erased; what is left is what the leaf says",
            Self::Removed => {
                "CANNOT BE CHECKED: somebody removed the details, off the record; what is left is what the leaf says"
            }
            Self::Broken => "DOES NOT HOLD: these are not the details that the leaf commits to",
        }
    }
}

impl Explained {
    /// A record, the one that says how it ended, and the one that says that its details are erased.
    ///
    /// # Errors
    /// The service answered with something that is no record of this version.
    pub fn of(
        record: v1::AuditRecord,
        outcome: Option<v1::AuditRecord>,
        erasure: Option<v1::AuditRecord>,
    ) -> Result<Self, Failure> {
        let index = record.index;
        let (leaf, commitment, details) = opened(&record)?;
        let mut lines = vec![("record", format!("{index}, {}", leaf.kind().as_str())), ("time", moment(leaf.time))];
        let (mut own, mut ended_as_said, mut outcome_names_it) = (commitment, true, None);
        lines.extend(asked(&leaf, &details));
        lines.extend(decided(&leaf, &details));
        match &outcome {
            Some(outcome) => {
                let (end, commitment, words) = opened(outcome)?;
                ended_as_said = commitment != Commitment::Broken;
                let by = format!("record {}, {}", outcome.index, moment(end.time));
                let text = ended(index, &end, &words);
                outcome_names_it = Some(text.is_some());
                let text = text.map_or_else(
                    || format!("NOT by the record that is noted for it, which does not name it: {by}"),
                    |text| format!("{by}: {text}"),
                );
                lines.push(("ended", text));
            }
            None if waits(&leaf) => lines.push(("ended", "not yet, or the service stopped before it knew".to_owned())),
            None => {}
        }
        lines.extend(ends(&leaf, &details));
        if let Some(erasure) = &erasure {
            let (act, vouched, words) = opened(erasure)?;
            let says = vouched == Commitment::Holds && erasure.index > index && says_so(&act, &words, index, &leaf);
            let why = words.message.unwrap_or_else(|| "of which the details are not there, either".to_owned());
            let is_none = if says { "" } else { "NOT by the record that is noted for it, which does not say so: " };
            lines.push(("erased", format!("{is_none}record {}, {}: {why}", erasure.index, moment(act.time))));
            if own == Commitment::Erased && !says {
                own = Commitment::Removed;
            }
        } else if own == Commitment::Erased {
            lines.push(("erased", "by no record: somebody removed the details from the database".to_owned()));
            own = Commitment::Removed;
        }
        let holds = if ended_as_said { own } else { Commitment::Broken };
        let caller_signature = Vouched::of(&leaf, &details, None);
        lines.push(("caller's signature", caller_signature.as_ref().map(Vouched::in_words).unwrap_or_default()));
        lines.push(("message", details.message.clone().unwrap_or_default()));
        lines.push(("recorded by", format!("{}, at epoch {}", leaf.instance, leaf.epoch)));
        lines.push(("commitment", holds.in_words().to_owned()));
        Ok(Self {
            summary: summary(index, &leaf, &details),
            commitment: holds,
            own,
            caller_signature,
            record: RecordView::from(record),
            outcome: outcome.map(RecordView::from),
            outcome_names_it,
            erasure: erasure.map(RecordView::from),
            lines,
        })
    }

    /// Whether the record's own details are what was recorded; where they are not there, why.
    pub const fn details(&self) -> Commitment {
        self.own
    }

    /// Whether what is shown is what was recorded.
    pub fn holds(&self) -> bool {
        !matches!(self.commitment, Commitment::Broken | Commitment::Removed)
            && self.outcome_names_it != Some(false)
            && !matches!(self.caller_signature, Some(Vouched::Broken { .. }))
    }
}

/// Whether an act says that the details of this record are erased.
fn says_so(act: &Leaf, words: &Details, index: u64, record: &Leaf) -> bool {
    let said = Erased::of(&record.body).zip(ErasureSaid::of(act, words));
    said.is_some_and(|(what, said)| said.covers(what, index, index))
}

/// What a record says, and whether its leaf bears it out. Details that are not the leaf's are shown all the same.
fn opened(record: &v1::AuditRecord) -> Result<(Leaf, Commitment, Details), Failure> {
    let index = record.index;
    let unread = |what: &str| Failure::failed(format!("{what} of record {index} cannot be read"));
    let leaf = Leaf::decode(&record.leaf).map_err(|error| unread("the leaf").because(error))?;
    let commitment = Commitment::of(&leaf, record);
    let details = match record.details_json.as_slice() {
        [] => Details::default(),
        json => Details::from_json(json).map_err(|error| unread("the details").because(error))?,
    };
    Ok((leaf, commitment, details))
}

/// What an operator did with a command at the machine, as the message of an act of nobody's begins; to do it, and done.
const BY_AN_OPERATOR: [(&str, &str, &str); 3] = [
    ("an operator accepts the state of epoch ", "accept the state", "accepted the state"),
    ("by an operator at the machine, ", "erase details", "erased details"),
    ("registered from bootstrap: ", "register the first caller", "registered the first caller"),
];

/// How the message of such an act begins where it makes a secret first.
const FIRST_A_SECRET: &str = "a secret is made, and the state is to be sealed with it: ";

/// What an operator did without a call of the service, if it is that: policy was not asked, and the service did not do it of itself.
fn by_an_operator(leaf: &Leaf, details: &Details) -> Option<String> {
    let Body::Act { subject: Subject { caller: Uid::NONE, action: None, .. }, opens, .. } = &leaf.body else {
        return None;
    };
    let message = details.message.as_deref()?;
    let message = message.strip_prefix(FIRST_A_SECRET).unwrap_or(message);
    let (_, to_do, done) = BY_AN_OPERATOR.iter().find(|(begins, ..)| message.starts_with(begins))?;
    let did = if *opens { format!("began to {to_do}") } else { (*done).to_owned() };
    Some(format!("An operator {did}, with a command on the service's machine."))
}

fn summary(index: u64, leaf: &Leaf, details: &Details) -> String {
    if let Some(summary) = by_an_operator(leaf, details) {
        return summary;
    }
    let caller = match &details.caller {
        Some(caller) => format!("The caller {caller}"),
        None if leaf.caller() != Uid::NONE => format!("The caller with the uid {}", leaf.caller()),
        None if matches!(leaf.body, Body::Denial { .. }) => "Somebody unknown".to_owned(),
        None => "The service itself".to_owned(),
    };
    let action = leaf.action().map_or("an act of its own", |action| action.as_str());
    let on = match &details.resource {
        Some(resource) => format!(" on {resource}"),
        None if leaf.resource() == Uid::NONE => String::new(),
        None => format!(" on the resource with the uid {}", leaf.resource()),
    };
    match &leaf.body {
        Body::Intent(_) => format!("{caller} was allowed {action}{on}."),
        Body::Act { opens: true, .. } => format!("{caller} began {action}{on}."),
        Body::Act { .. } => format!("{caller} did {action}{on}."),
        Body::Denial { count, reason, .. } => {
            let times = if *count == 1 { String::new() } else { format!(", {count} times in one second") };
            format!("{caller} was refused {action}{on}{times}: {}.", reason.as_str())
        }
        Body::Outcome { items, .. } => match items.as_slice() {
            [only] => format!("What record {} began has ended: {}.", only.intent, only.result.as_str()),
            many => format!("What {} records began has ended; record {index} says how.", many.len()),
        },
    }
}

/// Who asked for what.
pub fn asked(leaf: &Leaf, details: &Details) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let signed = details.signed.as_ref();
    vec![
        ("caller", text(&details.caller)),
        ("proved by", details.authentication.as_ref().map(proof).unwrap_or_default()),
        ("from", text(&details.source_address)),
        ("action", leaf.action().map_or_else(|| text(&details.action), |action| action.to_string())),
        ("resource", text(&details.resource)),
        ("algorithm", text(&details.algorithm)),
        ("public key", details.spki_sha256.as_ref().map(|hash| format!("SHA-256 {hash}")).unwrap_or_default()),
        ("signed", signed.map(|signed| format!("{} {}", signed.hash, signed.digest)).unwrap_or_default()),
        ("trace id", text(&details.trace_id)),
    ]
}

/// What policy said, as far as it was asked.
pub fn decided(leaf: &Leaf, details: &Details) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let by = if details.policies.is_empty() { String::new() } else { format!(", by {}", details.policies.join(", ")) };
    match &leaf.body {
        Body::Intent(subject) | Body::Act { subject, .. } => {
            lines.push(("decision", format!("{}{by}", subject.decision.as_str())));
            lines.push(("policy set", policy_set(subject)));
        }
        Body::Denial { reason, count, .. } => {
            lines.push(("decision", format!("DENY{by}")));
            lines.push(("reason", reason.as_str().to_owned()));
            lines.push(("calls", count.to_string()));
        }
        Body::Outcome { .. } => {}
    }
    if let Body::Act { rows, .. } | Body::Outcome { rows, .. } = &leaf.body
        && !rows.is_empty()
    {
        let tables: Vec<&str> = rows.iter().map(|row| table(row.table)).collect();
        lines.push(("changed", tables.join(", ")));
    }
    lines
}

const fn table(table: RowTable) -> &'static str {
    match table {
        RowTable::Key => "a key",
        RowTable::KeyVersion => "a key version",
        RowTable::Caller => "a caller",
        RowTable::PolicySet => "the policy set",
        RowTable::ApiKey => "an API key",
        RowTable::KeyRing => "a key ring",
    }
}

fn policy_set(subject: &Subject) -> String {
    if subject.policy_set == [0; 32] { "none was asked".to_owned() } else { hex(&subject.policy_set) }
}

/// By which credential.
fn proof(authentication: &AuthenticationDetails) -> String {
    use AuthenticationDetails::{ApiKey, Certificate, CertificateAndApiKey, CertificateAndOidcToken, OidcToken};
    let certificate = |identity: &str, hash: &chancery_audit::Hex, serial: &str| {
        format!("the certificate of {identity} (serial {serial}, SHA-256 {hash})")
    };
    match authentication {
        Certificate { identity, certificate_sha256, certificate_serial } => {
            certificate(identity, certificate_sha256, certificate_serial)
        }
        ApiKey { api_key } => format!("the API key {api_key}"),
        CertificateAndApiKey { identity, certificate_sha256, certificate_serial, api_key } => {
            format!("{} and the API key {api_key}", certificate(identity, certificate_sha256, certificate_serial))
        }
        OidcToken { oidc_identity, .. } => format!("a token of {oidc_identity}"),
        CertificateAndOidcToken { identity, certificate_sha256, certificate_serial, oidc_identity, .. } => {
            format!("{} and a token of {oidc_identity}", certificate(identity, certificate_sha256, certificate_serial))
        }
    }
}

/// What an outcome ends, and how.
pub fn ends(leaf: &Leaf, details: &Details) -> Vec<(&'static str, String)> {
    let line = |item: &OutcomeItem| {
        let text = ended(item.intent, leaf, details).unwrap_or_default();
        ("ends", format!("record {}: {text}", item.intent))
    };
    items(leaf).iter().map(line).collect()
}

/// Whether an outcome is to come.
const fn waits(leaf: &Leaf) -> bool {
    matches!(leaf.body, Body::Intent(_) | Body::Act { opens: true, .. })
}

fn items(leaf: &Leaf) -> &[OutcomeItem] {
    match &leaf.body {
        Body::Outcome { items, .. } => items,
        Body::Intent(_) | Body::Act { .. } | Body::Denial { .. } => &[],
    }
}

/// How the intent or act at `index` ended, as an outcome says it; nothing where it does not name it.
fn ended(index: u64, outcome: &Leaf, details: &Details) -> Option<String> {
    let OutcomeItem { result, signature_sha256, .. } = items(outcome).iter().find(|item| item.intent == index)?;
    let meaning = match result {
        OutcomeResult::Done => "it was done",
        OutcomeResult::Failed => "it was not done, and no signature of it left the service",
        OutcomeResult::Unknown => "whether it was done cannot be known",
        OutcomeResult::Abandoned => "the token was never asked",
    };
    let mut text = format!("{}, {meaning}", result.as_str());
    // Writing to text does not fail.
    if let Some(hash) = signature_sha256 {
        let _ = write!(text, "; the signature's SHA-256 is {}", hex(hash));
    }
    let item = details.items.iter().find(|item| item.intent == index);
    if let Some(ItemDetails { pkcs11_function, pkcs11_return_code, attempts, message, .. }) = item {
        if let Some((function, code)) = pkcs11_function.as_ref().zip(pkcs11_return_code.as_ref()) {
            let _ = write!(text, "; {function} answered {code}");
        }
        if let Some(attempts) = attempts.filter(|attempts| *attempts != 1) {
            let _ = write!(text, "; the token was asked {attempts} times");
        }
        if let Some(message) = message {
            let _ = write!(text, "; {message}");
        }
    }
    Some(text)
}

impl View for Explained {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        line(out, &self.summary)?;
        line(out, "")?;
        fields(out, self.lines.iter().map(|(name, value)| (*name, value.clone())))
    }
}

#[cfg(test)]
mod tests;

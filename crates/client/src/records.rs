//! The record, read: what is in it, and lists of it.

use chancery_api::v1;
use chancery_api::v1::audit_service_client::AuditServiceClient;
use chancery_model::{Action, Id, Timestamp};

use crate::answer::{proto_time, time};
use crate::pages::PAGE_SIZE;
use crate::retry::Repeat;
use crate::{Client, ClientError, Pages};

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// What was authorised, durable before the token was asked.
    Intent,
    /// How one or more intents ended.
    Outcome,
    /// An administrative act.
    Act,
    /// Denied calls, aggregated.
    Denial,
}

/// One record: a leaf of the log, and the details that it commits to. `docs/audit-record.md` specifies both.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Index in the log, from 0, without gaps.
    pub index: u64,
    /// The kind.
    pub kind: RecordKind,
    /// When it was made.
    pub time: Timestamp,
    /// Who asked; absent where nobody was authenticated, or the service itself acted.
    pub caller: Option<Id>,
    /// What was asked for, for example `Sign`.
    pub action: String,
    /// On what, with version where there is one.
    pub resource: String,
    /// Of an outcome: how each intent or act ended.
    pub outcomes: Vec<Outcome>,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// The exact JSON bytes that the leaf commits to; empty once erased.
    pub details_json: Vec<u8>,
    /// The commitment's salt, 32 bytes; empty once erased.
    pub salt: Vec<u8>,
    /// Index of the outcome that says how this intent or act ended, once there is one.
    pub outcome_index: Option<u64>,
    /// Where the details were erased on the record: index of the act that says by which rule.
    pub erasure_index: Option<u64>,
}

/// What policy said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordDecision {
    /// It was allowed: intents and acts.
    Allow,
    /// It was refused: denials.
    Deny,
}

/// How one intent or act ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Index of the intent or act.
    pub record_index: u64,
    /// `DONE`, `FAILED`, `UNKNOWN` or `ABANDONED`.
    pub result: String,
    /// SHA-256 of the signature in the token's own encoding; absent where there is none.
    pub signature_sha256: Option<Vec<u8>>,
}

/// Which records are meant; all that is given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// Only of this kind.
    pub kind: Option<RecordKind>,
    /// Only of this caller.
    pub caller: Option<Id>,
    /// Only on this resource and what is below it: the name of a key ring, a key or a key version.
    pub resource: Option<String>,
    /// Only of this action.
    pub action: Option<Action>,
}

/// Which records are listed, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// Which.
    pub filter: RecordFilter,
    /// Only of this decision; outcomes have none.
    pub decision: Option<RecordDecision>,
    /// Only intents to sign what has this digest, 32, 48 or 64 bytes: who signed this?
    pub digest: Option<Vec<u8>>,
    /// Only of the request with this W3C trace id, 32 lower-case hexadecimal digits.
    pub trace_id: Option<String>,
    /// Only at or above this index.
    pub start_index: Option<u64>,
    /// Only below this index.
    pub end_index: Option<u64>,
    /// Only at or after this time.
    pub from: Option<Timestamp>,
    /// Only before this time.
    pub until: Option<Timestamp>,
    /// Oldest first; newest first where false.
    pub oldest_first: bool,
}

impl RecordFilter {
    pub(crate) fn kind_to_proto(&self) -> i32 {
        match self.kind {
            None => v1::RecordKind::Unspecified,
            Some(RecordKind::Intent) => v1::RecordKind::Intent,
            Some(RecordKind::Outcome) => v1::RecordKind::Outcome,
            Some(RecordKind::Act) => v1::RecordKind::Act,
            Some(RecordKind::Denial) => v1::RecordKind::Denial,
        }
        .into()
    }

    pub(crate) fn caller_to_proto(&self) -> String {
        self.caller.as_ref().map(|id| format!("callers/{id}")).unwrap_or_default()
    }

    pub(crate) fn action_to_proto(&self) -> String {
        self.action.map(|action| action.as_str().to_owned()).unwrap_or_default()
    }
}

impl Client {
    /// One record; `None` where the record does not reach up to this index.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn get_record(&self, index: u64) -> Result<Option<Record>, ClientError> {
        let (start_index, end_index) = (Some(index), index.checked_add(1));
        self.list_records(RecordQuery { start_index, end_index, ..RecordQuery::default() }).next().await.transpose()
    }

    /// Lists records. Pages stay stable while records are added.
    #[must_use]
    pub fn list_records(&self, query: RecordQuery) -> Pages<Record> {
        let client = self.clone();
        let RecordQuery { filter, decision, digest, trace_id, start_index, end_index, from, until, oldest_first } =
            query;
        let decision = match decision {
            None => v1::RecordDecision::Unspecified,
            Some(RecordDecision::Allow) => v1::RecordDecision::Allow,
            Some(RecordDecision::Deny) => v1::RecordDecision::Deny,
        };
        let request = v1::ListRecordsRequest {
            page_size: PAGE_SIZE,
            page_token: String::new(),
            kind: filter.kind_to_proto(),
            caller: filter.caller_to_proto(),
            action: filter.action_to_proto(),
            resource: filter.resource.unwrap_or_default(),
            start_time: from.map(proto_time),
            end_time: until.map(proto_time),
            oldest_first,
            decision: decision.into(),
            digest: digest.unwrap_or_default(),
            trace_id: trace_id.unwrap_or_default(),
            start_index,
            end_index,
        };
        // A search looks at so many records in a call, whether any matches or not.
        let searches = request.kind != 0
            || request.decision != 0
            || request.start_time.is_some()
            || request.end_time.is_some()
            || !(request.caller.is_empty() && request.action.is_empty() && request.resource.is_empty())
            || !(request.digest.is_empty() && request.trace_id.is_empty());
        let pages = Pages::new(move |page_token| {
            let (client, request) = (client.clone(), v1::ListRecordsRequest { page_token, ..request.clone() });
            async move {
                let v1::ListRecordsResponse { records, next_page_token } = client
                    .call(Repeat::Safe, request, |connection, request| async move {
                        AuditServiceClient::new(connection).list_records(request).await
                    })
                    .await?;
                Ok((records.into_iter().map(Record::try_from).collect(), next_page_token))
            }
        });
        if searches { pages } else { pages.without_empty_pages() }
    }

    /// The newest record; `None` where there is none.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn newest_record(&self) -> Result<Option<Record>, ClientError> {
        let request = v1::ListRecordsRequest { page_size: 1, ..v1::ListRecordsRequest::default() };
        let v1::ListRecordsResponse { records, next_page_token: _ } = self
            .call(Repeat::Safe, request, |connection, request| async move {
                AuditServiceClient::new(connection).list_records(request).await
            })
            .await?;
        records.into_iter().next().map(Record::try_from).transpose()
    }
}

impl TryFrom<v1::AuditRecord> for Record {
    type Error = ClientError;

    fn try_from(answer: v1::AuditRecord) -> Result<Self, ClientError> {
        let v1::AuditRecord {
            index,
            kind,
            time: made,
            caller,
            action,
            resource,
            outcomes,
            // The same as `details_json`, read.
            details: _,
            leaf,
            details_json,
            salt,
            outcome_index,
            erasure_index,
        } = answer;
        let unknown = |what: String| ClientError::Answer { what: format!("record {index}: {what}") };
        let kind = match v1::RecordKind::try_from(kind) {
            Ok(v1::RecordKind::Intent) => RecordKind::Intent,
            Ok(v1::RecordKind::Outcome) => RecordKind::Outcome,
            Ok(v1::RecordKind::Act) => RecordKind::Act,
            Ok(v1::RecordKind::Denial) => RecordKind::Denial,
            Ok(v1::RecordKind::Unspecified) | Err(_) => {
                return Err(unknown(format!("kind {kind} is not known to this client")));
            }
        };
        let caller = match caller.strip_prefix("callers/") {
            Some(id) => Some(Id::parse("the caller id", id).map_err(|error| unknown(error.to_string()))?),
            None if caller.is_empty() => None,
            None => return Err(unknown(format!("{caller:?} is no caller's name"))),
        };
        Ok(Self {
            index,
            kind,
            time: time("the record's time", made)?,
            caller,
            action,
            resource,
            outcomes: outcomes.into_iter().map(Outcome::from).collect(),
            leaf,
            details_json,
            salt,
            outcome_index,
            erasure_index,
        })
    }
}

impl From<v1::RecordedOutcome> for Outcome {
    fn from(outcome: v1::RecordedOutcome) -> Self {
        let v1::RecordedOutcome { record_index, result, signature_sha256 } = outcome;
        Self { record_index, result, signature_sha256: (!signature_sha256.is_empty()).then_some(signature_sha256) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_service_itself_has_no_caller() {
        let record = v1::AuditRecord {
            index: 3,
            kind: v1::RecordKind::Outcome.into(),
            time: Some(prost_types::Timestamp { seconds: 1, nanos: 5000 }),
            outcomes: vec![v1::RecordedOutcome {
                record_index: 2,
                result: "DONE".to_owned(),
                signature_sha256: vec![],
            }],
            ..v1::AuditRecord::default()
        };
        let taken = Record::try_from(record.clone()).unwrap();
        assert_eq!((taken.caller, taken.time.unix_micros()), (None, 1_000_005));
        assert_eq!(taken.outcomes[0].signature_sha256, None);
        for wrong in
            [v1::AuditRecord { kind: 99, ..record.clone() }, v1::AuditRecord { caller: "ada".to_owned(), ..record }]
        {
            let error = Record::try_from(wrong).unwrap_err().to_string();
            assert!(error.contains("record 3"), "{error}");
        }
    }
}

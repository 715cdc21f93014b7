//! AuditService: which records are asked for, and a page of them.

use super::api_keys::api_key_named;
use super::callers::caller_named;
use super::enums::known;
use super::fields::{id_in, invalid, key_or_version, name, time};
use super::page::PageOf;
use super::policy::action_named;
use super::record::audit_record;
use chancery_api::v1;
use chancery_audit::{Decision, Hex, Kind};
use chancery_core::Error;
use chancery_model::RingName;
use chancery_store::{Order, RecordPage as FoundPage, RecordQuery};
use prost::Message as _;

/// Length of all records of a page together, in bytes.
const MAX_PAGE_BYTES: usize = 3 << 20;

/// A page of the record, and the query for it.
#[derive(Debug)]
pub(crate) struct RecordPage {
    pub(crate) query: RecordQuery,
    page: PageOf,
}

pub(crate) fn list_records_request(request: v1::ListRecordsRequest) -> Result<RecordPage, Error> {
    let list = format!("{:?}", v1::ListRecordsRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let v1::ListRecordsRequest {
        page_size,
        page_token,
        kind,
        caller,
        resource,
        action,
        start_time,
        end_time,
        oldest_first,
        decision,
        digest,
        trace_id,
        start_index,
        end_index,
    } = request;
    let decision = match known("decision", decision)? {
        v1::RecordDecision::Unspecified => None,
        v1::RecordDecision::Allow => Some(Decision::Allow),
        v1::RecordDecision::Deny => Some(Decision::Deny),
    };
    let page = PageOf::parse(&list, page_size, &page_token)?;
    let query = RecordQuery {
        from_time: start_time.map(|start| time("start_time", start)).transpose()?,
        until_time: end_time.map(|end| time("end_time", end)).transpose()?,
        from_index: page.number()?,
        order: if oldest_first { Order::OldestFirst } else { Order::NewestFirst },
        limit: u32::try_from(page.size).unwrap_or(u32::MAX),
        decision: decision.map(Decision::code),
        digest: (!digest.is_empty()).then_some(digest).map(searched_digest).transpose()?,
        trace_id: (!trace_id.is_empty()).then_some(trace_id).map(|id| searched_trace(&id)).transpose()?,
        since_index: start_index,
        before_index: end_index,
        ..filter(kind, caller, resource, action)?
    };
    Ok(RecordPage { query, page })
}

/// Which records to follow, and from where on.
pub(crate) fn watch_records_request(request: v1::WatchRecordsRequest) -> Result<(RecordQuery, Option<u64>), Error> {
    let v1::WatchRecordsRequest { start_index, kind, caller, resource, action } = request;
    Ok((filter(kind, caller, resource, action)?, start_index))
}

/// The records that match what was given of these.
pub(super) fn filter(kind: i32, caller: String, resource: String, action: String) -> Result<RecordQuery, Error> {
    let kind = match known("kind", kind)? {
        v1::RecordKind::Unspecified => None,
        v1::RecordKind::Intent => Some(Kind::Intent),
        v1::RecordKind::Outcome => Some(Kind::Outcome),
        v1::RecordKind::Act => Some(Kind::Act),
        v1::RecordKind::Denial => Some(Kind::Denial),
    };
    let given = |text: String| (!text.is_empty()).then_some(text);
    Ok(RecordQuery {
        kind: kind.map(Kind::code),
        caller: given(caller).map(|caller| id_in("caller", &caller, "callers", "the caller id")).transpose()?,
        resource: given(resource).map(filtered_resource).transpose()?,
        action: given(action).map(|action| action_named(&action)).transpose()?,
        ..RecordQuery::default()
    })
}

/// As long as the digest of some key's hash.
fn searched_digest(digest: Vec<u8>) -> Result<Vec<u8>, Error> {
    match digest.len() {
        32 | 48 | 64 => Ok(digest),
        other => Err(invalid("digest", format!("has {other} bytes; a digest has 32, 48 or 64"))),
    }
}

fn searched_trace(text: &str) -> Result<[u8; 16], Error> {
    let bytes = Hex::parse(text).and_then(|bytes| bytes.as_bytes().try_into().ok());
    bytes.ok_or_else(|| invalid("trace_id", "is not a W3C trace id: 32 lower-case hexadecimal digits"))
}

/// Whatever a record can be about.
fn filtered_resource(text: String) -> Result<String, Error> {
    let segments: Vec<&str> = text.split('/').collect();
    match segments.as_slice() {
        ["auditLog" | "policySet" | "callers" | "tokens"] => {}
        ["tokens", _] => {
            id_in("resource", &text, "tokens", "the token id")?;
        }
        ["callers", _] => {
            caller_named("resource", &text)?;
        }
        ["callers", ..] => {
            api_key_named("resource", &text)?;
        }
        ["keyRings", _] => {
            name::<RingName>("resource", &text)?;
        }
        ["keyRings", _, ..] => {
            key_or_version("resource", &text)?;
        }
        _ => {
            let rule = "is no name that records have; they are of keyRings/{ring}, keyRings/{ring}/keys/{key}, \
                        keyRings/{ring}/keys/{key}/versions/{version}, callers/{caller}, callers/{caller}/apiKeys/{id}, \
                        tokens/{token}, callers, tokens, policySet and auditLog";
            return Err(invalid("resource", rule));
        }
    }
    Ok(text)
}

impl RecordPage {
    /// The answer, from what the query found.
    pub(crate) fn response(&self, found: FoundPage) -> Result<v1::ListRecordsResponse, Error> {
        let FoundPage { records, next } = found;
        let (records, cut) = first_of(records.into_iter().map(audit_record))?;
        Ok(v1::ListRecordsResponse { records, next_page_token: self.page.next(cut.or(next)) })
    }
}

/// The first records, and the index of the one after them, where they end early: the page would grow too long for clients
/// that take gRPC's usual 4 MiB.
fn first_of(
    records: impl Iterator<Item = Result<v1::AuditRecord, Error>>,
) -> Result<(Vec<v1::AuditRecord>, Option<u64>), Error> {
    let mut first = Vec::new();
    let mut bytes = 0;
    for record in records {
        let record = record?;
        bytes += record.encoded_len();
        if bytes > MAX_PAGE_BYTES && !first.is_empty() {
            return Ok((first, Some(record.index)));
        }
        first.push(record);
    }
    Ok((first, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;
    use chancery_model::{Action, Timestamp};

    fn request() -> v1::ListRecordsRequest {
        v1::ListRecordsRequest { page_size: 2, ..v1::ListRecordsRequest::default() }
    }

    fn refused(request: v1::ListRecordsRequest) -> String {
        violation(list_records_request(request).unwrap_err()).0
    }

    #[test]
    fn filters_become_a_query() {
        let request = v1::ListRecordsRequest {
            kind: v1::RecordKind::Act.into(),
            caller: "callers/checkout".to_owned(),
            resource: "keyRings/payments/keys/jwt".to_owned(),
            action: "RotateKey".to_owned(),
            start_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            oldest_first: true,
            decision: v1::RecordDecision::Deny.into(),
            digest: vec![7; 48],
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            start_index: Some(0),
            end_index: Some(9),
            ..request()
        };
        let RecordPage { query, .. } = list_records_request(request).unwrap();
        assert_eq!(query.kind, Some(Kind::Act.code()));
        assert_eq!(query.caller.unwrap().as_str(), "checkout");
        assert_eq!(query.resource.as_deref(), Some("keyRings/payments/keys/jwt"));
        assert_eq!(query.action, Some(Action::RotateKey));
        assert_eq!(query.from_time, Some(Timestamp::from_unix_micros(1_000_000)));
        assert_eq!((query.order, query.limit, query.from_index), (Order::OldestFirst, 2, None));
        assert_eq!(query.decision, Some(Decision::Deny.code()));
        assert_eq!((query.digest.unwrap().len(), query.trace_id.unwrap()[0]), (48, 0x4b));
        assert_eq!((query.since_index, query.before_index), (Some(0), Some(9)));
    }

    #[test]
    fn malformed_filters_are_refused() {
        assert_eq!(refused(v1::ListRecordsRequest { kind: 5, ..request() }), "kind");
        assert_eq!(refused(v1::ListRecordsRequest { decision: 3, ..request() }), "decision");
        assert_eq!(refused(v1::ListRecordsRequest { digest: vec![7; 20], ..request() }), "digest");
        for trace_id in ["4BF92F3577B34DA6A3CE929D0E0E4736", "4bf9", "4bf92f3577b34da6a3ce929d0e0e47", "zz"] {
            assert_eq!(refused(v1::ListRecordsRequest { trace_id: trace_id.to_owned(), ..request() }), "trace_id");
        }
        assert_eq!(refused(v1::ListRecordsRequest { caller: "checkout".to_owned(), ..request() }), "caller");
        assert_eq!(refused(v1::ListRecordsRequest { action: "sign".to_owned(), ..request() }), "action");
        for resource in [
            "payments",
            "keyRings",
            "keyRings/P",
            "keyRings/a/keys",
            "keyRings/a/keys/k/versions/0",
            "tokens/A",
            "tokens/a/b",
            "callers/a/b",
            "callers/a/apiKeys/short",
            "auditLog/x",
            "policy",
        ] {
            assert_eq!(refused(v1::ListRecordsRequest { resource: resource.to_owned(), ..request() }), "resource");
        }
        for resource in [
            "keyRings/a",
            "keyRings/a/keys/k",
            "keyRings/a/keys/k/versions/1",
            "tokens/a",
            "callers/a",
            "callers/a/apiKeys/0aZ9bY8cX7dW",
            "callers",
            "tokens",
            "policySet",
            "auditLog",
        ] {
            let request = v1::ListRecordsRequest { resource: resource.to_owned(), ..request() };
            assert_eq!(list_records_request(request).unwrap().query.resource.as_deref(), Some(resource));
        }
        let bad = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
        assert_eq!(refused(v1::ListRecordsRequest { end_time: bad, ..request() }), "end_time");
    }

    #[test]
    fn a_token_is_good_for_the_same_filters_only() {
        let first = list_records_request(request()).unwrap();
        let token = first.page.next(Some(41_u64));
        let next =
            list_records_request(v1::ListRecordsRequest { page_token: token.clone(), page_size: 5, ..request() });
        assert_eq!(next.unwrap().query.from_index, Some(41));
        let other = v1::ListRecordsRequest { page_token: token, oldest_first: true, ..request() };
        assert_eq!(refused(other), "page_token");
    }

    #[test]
    fn a_page_ends_where_it_grows_too_long() {
        let records = |bytes: usize| {
            (0..5)
                .map(move |index| Ok(v1::AuditRecord { index, details_json: vec![b' '; bytes], ..Default::default() }))
        };
        let indexes = |(first, next): (Vec<v1::AuditRecord>, Option<u64>)| (first.len(), next);
        assert_eq!(indexes(first_of(records(1)).unwrap()), (5, None));
        assert_eq!(indexes(first_of(records(1 << 20)).unwrap()), (2, Some(2)));
        assert_eq!(
            indexes(first_of(records(MAX_PAGE_BYTES + 1)).unwrap()),
            (1, Some(1)),
            "what was found is never left out"
        );
    }
}

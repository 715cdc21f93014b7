//! PolicyService: recorded calls, decided again under other policies.

use super::audit::filter;
use super::fields::{time, timestamp};
use super::page::PageOf;
use super::policy::documents;
use chancery_api::v1;
use chancery_core::{ChangedDecision, Error, Replayed};
use chancery_policy::PolicyDocument;
use chancery_store::RecordQuery;

/// Which records are decided again, and under which policy set.
pub(crate) fn request(
    request: v1::ReplayPolicySetRequest,
) -> Result<(Vec<PolicyDocument>, RecordQuery, PageOf), Error> {
    let list = v1::ReplayPolicySetRequest { page_size: 0, page_token: String::new(), ..request.clone() };
    let list = format!("{list:?}");
    let v1::ReplayPolicySetRequest {
        documents: given,
        caller,
        resource,
        action,
        start_time,
        end_time,
        page_size,
        page_token,
    } = request;
    let page = PageOf::parse(&list, page_size, &page_token)?;
    let query = RecordQuery {
        from_time: start_time.map(|start| time("start_time", start)).transpose()?,
        until_time: end_time.map(|end| time("end_time", end)).transpose()?,
        from_index: page.number()?,
        ..filter(v1::RecordKind::Unspecified.into(), caller, resource, action)?
    };
    Ok((documents(given), query, page))
}

pub(crate) fn response(replayed: Replayed, page: &PageOf) -> v1::ReplayPolicySetResponse {
    let Replayed { changes, replayed, not_replayed, next } = replayed;
    let change = |change| {
        let ChangedDecision { record_index, time, caller, action, resource, was_allowed, reason } = change;
        v1::ChangedDecision {
            record_index,
            record_time: Some(timestamp(time)),
            caller: format!("callers/{caller}"),
            action: action.to_string(),
            resource,
            was_allowed,
            reason,
        }
    };
    let changes = changes.into_iter().map(change).collect();
    v1::ReplayPolicySetResponse { changes, replayed, not_replayed, next_page_token: page.next(next) }
}

//! `chancery policy replay`: which of the recorded decisions another policy set would have made otherwise.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chancery_api::v1;
use chancery_client::Client;
use chancery_model::Action;
use chancery_policy::{Decision, PolicyPoint, PolicySet, RecordedCall};
use clap::Args;
use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::PAGE;
use super::difference::policy_documents;
use super::folder;
use super::validate::ValidationView;
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::names::{CallerArgument, ResourceArgument, shorten};
use crate::output::{Output, View, rows};

/// Arguments of `policy replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The policy set: a folder of *.cedar, files, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    documents: Vec<Source>,
    /// Only calls at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = super::super::audit::timestamp)]
    since: Option<Timestamp>,
    /// Only calls before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = super::super::audit::timestamp)]
    until: Option<Timestamp>,
    /// Only calls of this caller
    #[arg(long, value_name = "CALLER")]
    caller: Option<CallerArgument>,
    /// Only on this and what is below it: RING, RING/KEY or RING/KEY/VERSION
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<ResourceArgument>,
    /// Only calls of this action
    #[arg(long, value_name = "ACTION", value_parser = super::super::action(), ignore_case = true)]
    action: Option<Action>,
    /// At most so many records, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

/// What a record says of a decision.
#[derive(Deserialize)]
struct Recorded {
    attributes: Option<serde_json::Value>,
}

/// Decisions that would be others.
#[derive(Debug, Default, Serialize)]
struct Replayed {
    /// How many decisions were asked again.
    replayed: u64,
    /// How many cannot be: their details are erased, were never decided by policy, or are of another version.
    not_replayed: u64,
    /// Whether there are more records than were looked at.
    more: bool,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    record_index: u64,
    time: String,
    caller: String,
    action: String,
    resource: String,
    before: &'static str,
    after: &'static str,
    reason: String,
}

impl Replay {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let documents = folder::read(&self.documents)?;
        let set = match PolicySet::parse(policy_documents(&documents)) {
            Ok(set) => set,
            Err(errors) => {
                out.show(&ValidationView::offline(Err(errors)))?;
                return Ok(Exit::No);
            }
        };
        let point = PolicyPoint::new(set, &[])
            .map_err(|errors| Failure::failed("the policy set cannot be asked").because(errors))?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut request = v1::ListRecordsRequest {
            page_size: PAGE.min(i32::try_from(limit).unwrap_or(PAGE)),
            page_token: String::new(),
            kind: v1::RecordKind::Unspecified.into(),
            caller: self.caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
            resource: self.resource.map(|ResourceArgument(name)| name).unwrap_or_default(),
            action: self.action.map(|action| action.as_str().to_owned()).unwrap_or_default(),
            start_time: self.since,
            end_time: self.until,
            oldest_first: false,
        };
        let mut replayed = Replayed::default();
        let mut looked_at = 0;
        loop {
            let answer = client.audit().list_records(request.clone()).await.map_err(|status| client.error(status))?;
            let v1::ListRecordsResponse { records, next_page_token } = answer.into_inner();
            for record in records {
                if looked_at == limit {
                    replayed.more = true;
                    break;
                }
                looked_at += 1;
                replayed.ask(&point, record);
            }
            replayed.more |= looked_at == limit && !next_page_token.is_empty();
            if next_page_token.is_empty() || looked_at == limit {
                break;
            }
            request.page_token = next_page_token;
        }
        out.show(&replayed)?;
        Ok(if replayed.changes.is_empty() { Exit::Done } else { Exit::No })
    }
}

impl Replayed {
    /// Asks about one record again.
    fn ask(&mut self, point: &PolicyPoint, record: v1::AuditRecord) {
        let was_allowed = match record.kind() {
            v1::RecordKind::Intent | v1::RecordKind::Act => true,
            v1::RecordKind::Denial => false,
            // An outcome decides nothing.
            v1::RecordKind::Outcome | v1::RecordKind::Unspecified => return,
        };
        let v1::AuditRecord { index, time, caller, action, resource, details_json, .. } = record;
        let attributes = serde_json::from_slice::<Recorded>(&details_json).ok().and_then(|details| details.attributes);
        let call = attributes
            .zip(action.parse::<Action>().ok())
            .and_then(|(attributes, action)| RecordedCall::from_attributes(action, &attributes).ok());
        let Some(RecordedCall { caller: then, request }) = call else {
            self.not_replayed += 1;
            return;
        };
        self.replayed += 1;
        let allowed = matches!(point.authorize(&then, &request), Decision::Allowed(_));
        if allowed == was_allowed {
            return;
        }
        let word = |allowed: bool| if allowed { "allow" } else { "deny" };
        self.changes.push(Change {
            record_index: index,
            time: time.map(|time| time.to_string()).unwrap_or_default(),
            caller,
            action,
            resource,
            before: word(was_allowed),
            after: word(allowed),
            reason: point.explain(&then, &request).reason,
        });
    }
}

impl View for Replayed {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        // Calls that change alike are one line, with the newest of them.
        let mut lines: BTreeMap<[&str; 5], (u64, &Change)> = BTreeMap::new();
        for change in &self.changes {
            let Change { record_index: _, time: _, caller, action, resource, before, after, reason: _ } = change;
            lines.entry([before, caller, resource, action, after]).or_insert((0, change)).0 += 1;
        }
        if !lines.is_empty() {
            let line = |(times, change): &(u64, &Change)| {
                let caller = change.caller.strip_prefix("callers/").unwrap_or(&change.caller).to_owned();
                let decision = format!("{} -> {}", change.before, change.after);
                let (index, resource) = (change.record_index.to_string(), shorten(&change.resource));
                [decision, caller, change.action.clone(), resource, times.to_string(), index]
            };
            rows(out, ["DECISION", "CALLER", "ACTION", "RESOURCE", "CALLS", "NEWEST"], lines.values().map(line))?;
            writeln!(out)?;
            lines.values().try_for_each(|(_, change)| writeln!(out, "{}: {}", change.record_index, change.reason))?;
            writeln!(out)?;
        }
        write!(out, "{} decisions replayed, {} would be others", self.replayed, self.changes.len())?;
        if self.not_replayed > 0 {
            write!(out, "; {} records hold no decision that can be replayed", self.not_replayed)?;
        }
        writeln!(out)?;
        if self.more {
            writeln!(out, "there are more records: --limit, --since and --until say which")?;
        }
        Ok(())
    }
}

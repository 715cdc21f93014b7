//! `chancery policy replay`: which of the recorded decisions another policy set would have made otherwise.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chancery_api::v1;
use chancery_client::Client;
use chancery_model::Action;
use chancery_policy::PolicySet;
use clap::Args;
use prost_types::Timestamp;
use serde::Serialize;

use super::super::PAGE;
use super::difference::policy_documents;
use super::folder;
use super::validate::ValidationView;
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::names::{CallerArgument, RecordedArgument, shorten};
use crate::output::{Output, View, line, rows};

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
    resource: Option<RecordedArgument>,
    /// Only calls of this action
    #[arg(long, value_name = "ACTION", value_parser = super::super::action(), ignore_case = true)]
    action: Option<Action>,
    /// At most so many records, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
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
        // What does not hold together is told with its place, without asking.
        if let Err(errors) = PolicySet::parse(policy_documents(&documents)) {
            out.show(&ValidationView::offline(Err(errors)))?;
            return Ok(Exit::No);
        }
        let mut left = self.limit;
        let mut request = v1::ReplayPolicySetRequest {
            documents,
            caller: self.caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
            resource: self.resource.map(|RecordedArgument(name)| name).unwrap_or_default(),
            action: self.action.map(|action| action.as_str().to_owned()).unwrap_or_default(),
            start_time: self.since,
            end_time: self.until,
            page_size: 0,
            page_token: String::new(),
        };
        let mut replayed = Replayed::default();
        while left > 0 {
            request.page_size = i32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let answer = client.policy().replay_policy_set(request.clone()).await;
            let answer = answer.map_err(|status| client.error(status))?.into_inner();
            // A page may look at fewer; then a little more than the limit is looked at.
            left = left.saturating_sub(u64::from(request.page_size.unsigned_abs()));
            request.page_token = replayed.take(answer);
            replayed.more = !request.page_token.is_empty();
            if !replayed.more {
                break;
            }
        }
        out.show(&replayed)?;
        Ok(if replayed.changes.is_empty() { Exit::Done } else { Exit::No })
    }
}

impl Replayed {
    /// Adds a page; answers the token of the next one.
    fn take(&mut self, answer: v1::ReplayPolicySetResponse) -> String {
        let v1::ReplayPolicySetResponse { changes, replayed, not_replayed, next_page_token } = answer;
        self.replayed += replayed;
        self.not_replayed += not_replayed;
        self.changes.extend(changes.into_iter().map(Change::from));
        next_page_token
    }
}

impl From<v1::ChangedDecision> for Change {
    fn from(change: v1::ChangedDecision) -> Self {
        let v1::ChangedDecision { record_index, record_time, caller, action, resource, was_allowed, reason } = change;
        let word = |allowed: bool| if allowed { "allow" } else { "deny" };
        Self {
            record_index,
            time: record_time.map(|time| time.to_string()).unwrap_or_default(),
            caller,
            action,
            resource,
            before: word(was_allowed),
            after: word(!was_allowed),
            reason,
        }
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
            let row = |(times, change): &(u64, &Change)| {
                let caller = change.caller.strip_prefix("callers/").unwrap_or(&change.caller).to_owned();
                let decision = format!("{} -> {}", change.before, change.after);
                let (index, resource) = (change.record_index.to_string(), shorten(&change.resource));
                [decision, caller, change.action.clone(), resource, times.to_string(), index]
            };
            rows(out, ["DECISION", "CALLER", "ACTION", "RESOURCE", "CALLS", "NEWEST"], lines.values().map(row))?;
            writeln!(out)?;
            let reasons = lines.values().map(|(_, change)| format!("{}: {}", change.record_index, change.reason));
            reasons.into_iter().try_for_each(|reason| line(out, &reason))?;
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

//! `chancery audit`: the record.

use chancery_api::v1;
use chancery_client::Client;
use chancery_model::Action;
use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;
use std::convert::Infallible;
use std::time::Duration;
use tonic::Request;

use super::PAGE;
use crate::exit::{Exit, Failure};
use crate::names::{CallerArgument, ResourceArgument};
use crate::output::Output;
use crate::view::audit::{RecordLine, RecordList, RecordView};

/// The time of a call that its user ends: the longest that gRPC can say in seconds, three years.
const FOR_EVER: Duration = Duration::from_secs(99_999_999);

/// Reads the record.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List records, newest first
    #[command(after_long_help = "\
Examples:
  chancery audit list
  chancery audit list --caller billing --action Sign --since 2026-11-01T00:00:00Z --limit 1000
  chancery audit list --kind denial
  chancery audit list --resource dev/invoices --oldest-first -o json | jq '.records[].details'")]
    List(List),
    /// Show records as they are made, until interrupted
    ///
    /// With -o json, one JSON document a line. Where the service ends the watch, the error says from where to resume;
    /// nothing is shown twice or left out then. --timeout does not apply.
    #[command(after_long_help = "\
Examples:
  chancery audit watch
  chancery audit watch --from 0 --resource dev/invoices --action Sign
  chancery audit watch --kind denial -o json | jq -c .details")]
    Watch(Watch),
}

/// Which records.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only of this caller
    #[arg(long, value_name = "CALLER")]
    caller: Option<CallerArgument>,
    /// Only on this ring, key or version, and what is below it
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<ResourceArgument>,
    /// Only of this action
    #[arg(long, value_name = "ACTION", value_parser = super::action(), ignore_case = true)]
    action: Option<Action>,
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    since: Option<Timestamp>,
    /// Only before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    until: Option<Timestamp>,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

/// Arguments of `audit watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// From this index on, past records first [default: only records made from now on]
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    #[command(flatten)]
    filter: Filter,
}

/// The kinds of records.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// What was authorised
    Intent,
    /// How it ended
    Outcome,
    /// Administrative acts
    Act,
    /// What was denied
    Denial,
}

impl From<Kind> for v1::RecordKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Intent => Self::Intent,
            Kind::Outcome => Self::Outcome,
            Kind::Act => Self::Act,
            Kind::Denial => Self::Denial,
        }
    }
}

/// A point in time, RFC 3339; for `value_parser`.
///
/// # Errors
/// What a time looks like.
pub fn moment(text: &str) -> Result<chancery_model::Timestamp, String> {
    let Timestamp { seconds, nanos } = timestamp(text)?;
    let micros = seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos) / 1000);
    Ok(chancery_model::Timestamp::from_unix_micros(micros))
}

pub(super) fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_unhelpful| "expected a time like 2026-11-23T09:30:00Z".to_owned())
}

impl AuditCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(arguments) => {
                out.show(&list(client, arguments).await?)?;
                Ok(Exit::Done)
            }
            Self::Watch(arguments) => match watch(client, arguments, out).await? {},
        }
    }
}

async fn list(client: &Client, arguments: List) -> Result<RecordList, Failure> {
    let List { filter: Filter { kind, caller, resource, action }, since, until, oldest_first, limit } = arguments;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut request = v1::ListRecordsRequest {
        page_size: PAGE.min(i32::try_from(limit).unwrap_or(PAGE)),
        page_token: String::new(),
        kind: kind.map_or(v1::RecordKind::Unspecified, Into::into).into(),
        caller: caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
        resource: resource.map(|ResourceArgument(name)| name).unwrap_or_default(),
        action: action.map(|action| action.as_str().to_owned()).unwrap_or_default(),
        start_time: since,
        end_time: until,
        oldest_first,
    };
    let mut records: Vec<RecordView> = Vec::new();
    loop {
        let answer = client.audit().list_records(request.clone()).await.map_err(|status| client.error(status))?;
        let page = answer.into_inner();
        records.extend(page.records.into_iter().map(RecordView::from));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || records.len() >= limit {
            let more = !request.page_token.is_empty() || records.len() > limit;
            records.truncate(limit);
            return Ok(RecordList { records, more });
        }
    }
}

/// A watch is ended by its user, or by an error.
async fn watch(client: &Client, arguments: Watch, out: &mut Output<'_>) -> Result<Infallible, Failure> {
    let Watch { from, filter: Filter { kind, caller, resource, action } } = arguments;
    let mut request = Request::new(v1::WatchRecordsRequest {
        start_index: from,
        kind: kind.map_or(v1::RecordKind::Unspecified, Into::into).into(),
        caller: caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
        resource: resource.map(|ResourceArgument(name)| name).unwrap_or_default(),
        action: action.map(|action| action.as_str().to_owned()).unwrap_or_default(),
    });
    request.set_timeout(FOR_EVER);
    let answer = client.audit().watch_records(request).await.map_err(|status| client.error(status))?;
    let mut answers = answer.into_inner();
    let mut next = from;
    loop {
        let failure = match answers.message().await {
            Ok(Some(v1::WatchRecordsResponse { record, next_index })) => {
                if let Some(record) = record {
                    out.show_line(&RecordLine(RecordView::from(record)))?;
                }
                next = Some(next_index);
                continue;
            }
            Ok(None) => Failure::failed("the service ended the watch without saying why"),
            Err(status) => client.error(status).into(),
        };
        return Err(match next {
            Some(index) => failure.hint(format!("to resume: chancery audit watch --from {index}")),
            None => failure,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_any_offset() {
        assert_eq!(timestamp("1970-01-01T01:00:00+01:00").unwrap().seconds, 0);
        assert!(timestamp("yesterday").unwrap_err().contains("2026-11-23T09:30:00Z"));
    }
}

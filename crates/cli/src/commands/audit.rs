//! `chancery audit`: the record.

use chancery_api::v1;
use chancery_client::Client;
use chancery_crypto::hash;
use chancery_model::{Action, HashAlgorithm};
use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;
use std::convert::Infallible;
use std::io::Write;
use std::time::{Duration, SystemTime};
use tonic::Request;

use super::{PAGE, audit_checkpoint, audit_log, audit_receipts, audit_show};
use crate::connection::{ConnectionArguments, DevIdentity};
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::input::{Hex, Source};
use crate::names::{CallerArgument, RecordedArgument};
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
  chancery audit list --decision deny --since 24h
  chancery audit list --file release.tar.gz
  chancery audit list --trace-id 4bf92f3577b34da6a3ce929d0e0e4736
  chancery audit list --resource dev/invoices --oldest-first -o json | jq '.records[].details'")]
    List(Box<List>),
    /// Explain one record
    ///
    /// What happened, who asked and how they proved it, on what, which policies decided, and how it ended. Checks that the
    /// record's leaf commits to the details that are shown; ends with 1 where it does not.
    #[command(after_long_help = "\
Examples:
  chancery audit show 42
  chancery audit show \"$(chancery sign dev/invoices --in invoice.pdf -o json | jq .record_index)\"")]
    Show(audit_show::Show),
    /// Make the receipt of a record, to be kept and verified without the service
    ///
    /// The receipt discloses the record with all its details, and shows that it is in the log: verify it with
    /// chancery verify --receipt. A record that no checkpoint covers yet is waited for.
    #[command(after_long_help = "\
Examples:
  chancery audit receipt 42 --out invoice.receipt
  chancery audit receipt 42 | chancery verify --receipt - --log-key \"$LOG_KEY\"")]
    Receipt(audit_receipts::MakeReceipt),
    /// Print the newest checkpoint of the log
    ///
    /// Whoever keeps it finds out with --continues whether the log was cut or rewritten since; the command ends with 1 then,
    /// where none of the given keys has signed the newest, and with --witness where too few of the witnesses have cosigned it.
    /// Standard error says what was verified.
    #[command(after_long_help = "\
Examples:
  chancery audit checkpoint > kept.checkpoint
  chancery audit checkpoint --log-key \"$LOG_KEY\" --continues kept.checkpoint --out kept.checkpoint
  chancery audit checkpoint --log-key \"$LOG_KEY\" --witness \"$W1\" --witness \"$W2\"")]
    Checkpoint(audit_checkpoint::ShowCheckpoint),
    /// Print the log's public keys, to be pinned by those who verify
    ///
    /// One a line: the one that signs, and then those that did, if there are any; standard error says which is which. The
    /// service says them of itself: compare them over another way before they are trusted.
    #[command(after_long_help = "\
Examples:
  LOG_KEY=\"$(chancery audit log-key)\"")]
    LogKey,
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
    /// Export the whole log to a folder, or go on with an export
    ///
    /// In the layout of C2SP tlog-tiles, which other tools read, up to the log's newest checkpoint; with the salts and details
    /// that the leaves commit to beside it. docs/transparency-log.md describes the folder.
    #[command(after_long_help = "\
Examples:
  chancery audit export /backup/log --database /var/lib/chancery/chancery.db
  chancery audit export log --log-key \"$(cat log-key)\" --without-details")]
    Export(audit_log::Export),
    /// Verify a whole log: an export, a database, or that of a running service
    ///
    /// Makes the tree anew from the records, and checks each checkpoint, each commitment that still has its details, and that
    /// each outcome ends what is open, once; counts what is still open. With --witness also how many of the records enough of
    /// the witnesses vouch for. Names the first fault, and ends with 1 then, or where no checkpoint vouches for the log, or none
    /// that enough of the witnesses have cosigned.
    #[command(after_long_help = "\
Examples:
  chancery audit verify /backup/log --log-key \"$(cat log-key)\"
  chancery audit verify /backup/log --log-key \"$(cat log-key)\" --checkpoint kept-last-year
  chancery audit verify --database /var/lib/chancery/chancery.db -o json
  chancery audit verify --database /var/lib/chancery/chancery.db --archive /srv/chancery/archive
  chancery audit verify /backup/log --log-key \"$(cat log-key)\" --witness \"$W1\" --witness \"$W2\"
  chancery audit verify --log-key \"$(cat log-key)\"        # of the service")]
    Verify(audit_log::Verify),
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
    /// Only on this ring, key, version, tokens/TOKEN, callers/CALLER, an API key of his, policySet or auditLog, and what is
    /// below it
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<RecordedArgument>,
    /// Only of this action
    #[arg(long, value_name = "ACTION", value_parser = super::action(), ignore_case = true)]
    action: Option<Action>,
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only what policy decided so
    #[arg(long, value_enum)]
    decision: Option<Decision>,
    #[command(flatten)]
    signed: Signed,
    /// Only of the request with this W3C trace id
    #[arg(long, value_name = "HEX", value_parser = trace_id)]
    trace_id: Option<String>,
    /// Only at or above this index
    #[arg(long, value_name = "INDEX")]
    start_index: Option<u64>,
    /// Only below this index
    #[arg(long, value_name = "INDEX")]
    end_index: Option<u64>,
    /// Only at or after this time (RFC 3339), or so long ago (90s, 15m, 12h, 30d)
    #[arg(long, value_name = "TIME", value_parser = ago)]
    since: Option<Timestamp>,
    /// Only before this time, likewise
    #[arg(long, value_name = "TIME", value_parser = ago)]
    until: Option<Timestamp>,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

/// Of what the signing is looked for: who signed this?
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Signed {
    /// Only intents to sign what has this digest, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = digest)]
    digest: Option<Hex>,
    /// Only intents to sign this file (- is standard input); all hash functions of keys are tried
    #[arg(long, value_name = "FILE")]
    file: Option<Source>,
    /// Only intents to sign the JWT in this file (- is standard input)
    #[arg(long, value_name = "FILE")]
    jwt: Option<Source>,
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

/// What policy said.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decision {
    /// What was allowed: intents and acts
    Allow,
    /// What was refused: denials
    Deny,
}

impl From<Decision> for v1::RecordDecision {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Deny => Self::Deny,
        }
    }
}

/// The hash functions of keys. Which one a signature was made with is not said by what was signed.
const HASHES: [HashAlgorithm; 4] =
    [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Keccak256];

impl Signed {
    /// The digests to look for; `None` where all records are meant.
    fn digests(self) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let Self { digest, file, jwt } = self;
        let bytes = match (digest, file, jwt) {
            (Some(Hex(digest)), _, _) => return Ok(Some(vec![digest])),
            (_, Some(file), _) => file.read_digested()?,
            (_, _, Some(token)) => token.read_jwt_signing_input()?,
            (None, None, None) => return Ok(None),
        };
        Ok(Some(HASHES.map(|algorithm| hash(algorithm, &bytes).as_bytes().to_vec()).into()))
    }
}

fn digest(text: &str) -> Result<Hex, String> {
    let digest: Hex = text.parse()?;
    match digest.0.len() {
        32 | 48 | 64 => Ok(digest),
        other => Err(format!("{other} bytes; a digest has 32, 48 or 64")),
    }
}

fn trace_id(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(Hex(bytes)) if bytes.len() == 16 => Ok(text.to_ascii_lowercase()),
        _ => Err("a W3C trace id has 32 hexadecimal digits".to_owned()),
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

/// A point in time, RFC 3339, or how long ago it was.
fn ago(text: &str) -> Result<Timestamp, String> {
    let Ok(before) = duration::parse(text) else {
        return timestamp(text).map_err(|error| format!("{error}, or how long ago: 90s, 15m, 12h or 30d"));
    };
    let then = SystemTime::now().checked_sub(before).filter(|then| *then >= SystemTime::UNIX_EPOCH);
    Ok(then.unwrap_or(SystemTime::UNIX_EPOCH).into())
}

impl AuditCommand {
    /// Runs the command. `note` is standard error.
    pub async fn run(
        self,
        connection: &ConnectionArguments,
        out: &mut Output<'_>,
        note: &mut dyn Write,
    ) -> Result<Exit, Failure> {
        let connect = || connection.connect(DevIdentity::Operator);
        match self {
            Self::List(arguments) => {
                out.show(&list(&connect().await?, *arguments).await?)?;
                Ok(Exit::Done)
            }
            Self::Show(arguments) => arguments.run(&connect().await?, out).await,
            Self::Receipt(arguments) => arguments.run(&connect().await?, out).await,
            Self::Checkpoint(arguments) => arguments.run(&connect().await?, out, note).await,
            Self::LogKey => audit_checkpoint::show_log_keys(&connect().await?, out, note).await,
            Self::Watch(arguments) => match watch(&connect().await?, arguments, out).await? {},
            // These connect where they have to.
            Self::Export(arguments) => arguments.run(connection, out).await,
            Self::Verify(arguments) => arguments.run(connection, out).await,
        }
    }
}

async fn list(client: &Client, arguments: List) -> Result<RecordList, Failure> {
    let List {
        filter: Filter { kind, caller, resource, action },
        decision,
        signed,
        trace_id,
        start_index,
        end_index,
        since,
        until,
        oldest_first,
        limit,
    } = arguments;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let request = v1::ListRecordsRequest {
        page_size: PAGE.min(i32::try_from(limit).unwrap_or(PAGE).saturating_add(1)),
        page_token: String::new(),
        kind: kind.map_or(v1::RecordKind::Unspecified, Into::into).into(),
        caller: caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
        resource: resource.map(|RecordedArgument(name)| name).unwrap_or_default(),
        action: action.map(|action| action.as_str().to_owned()).unwrap_or_default(),
        start_time: since,
        end_time: until,
        oldest_first,
        decision: decision.map_or(v1::RecordDecision::Unspecified, Into::into).into(),
        digest: Vec::new(),
        trace_id: trace_id.unwrap_or_default(),
        start_index,
        end_index,
    };
    let mut records = Vec::new();
    for digest in signed.digests()?.unwrap_or_else(|| vec![Vec::new()]) {
        records.extend(first_records(client, v1::ListRecordsRequest { digest, ..request.clone() }, limit).await?);
    }
    // In order already, unless several digests were looked for.
    records.sort_by_key(|record| record.index);
    if !oldest_first {
        records.reverse();
    }
    let more = records.len() > limit;
    records.truncate(limit);
    Ok(RecordList { records: records.into_iter().map(RecordView::from).collect(), more })
}

/// The first records that match, and one more where there are more. Pages may be short: only the last has no token.
async fn first_records(
    client: &Client,
    mut request: v1::ListRecordsRequest,
    limit: usize,
) -> Result<Vec<v1::AuditRecord>, Failure> {
    let mut records = Vec::new();
    loop {
        let answer = client.audit().list_records(request.clone()).await.map_err(|status| client.error(status))?;
        let page = answer.into_inner();
        records.extend(page.records);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || records.len() > limit {
            return Ok(records);
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
        resource: resource.map(|RecordedArgument(name)| name).unwrap_or_default(),
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
    fn digests_and_trace_ids_have_their_length() {
        assert_eq!(digest(&"aB".repeat(48)).unwrap().0, [0xab; 48]);
        assert!(digest(&"ab".repeat(20)).unwrap_err().contains("20 bytes"));
        assert_eq!(trace_id(&"AB".repeat(16)).unwrap(), "ab".repeat(16));
        assert!(trace_id("abcd").is_err());
    }

    #[test]
    fn a_time_may_be_said_by_how_long_ago_it_was() {
        let now = || Timestamp::from(SystemTime::now()).seconds;
        let (before, hour_ago, after) = (now(), ago("1h").unwrap().seconds, now());
        assert!((before - 3600..=after - 3600).contains(&hour_ago), "{before} {hour_ago} {after}");
        assert_eq!(ago("1970-01-01T01:00:00+01:00").unwrap().seconds, 0);
        assert_eq!(ago("1000000d").unwrap().seconds, 0, "before there were records");
        assert!(ago("yesterday").unwrap_err().contains("12h"));
    }

    #[test]
    fn times_are_rfc_3339_with_any_offset() {
        assert_eq!(timestamp("1970-01-01T01:00:00+01:00").unwrap().seconds, 0);
        assert!(timestamp("yesterday").unwrap_err().contains("2026-11-23T09:30:00Z"));
    }
}

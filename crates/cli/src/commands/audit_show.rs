//! `chancery audit show`: one record, for a person.

use chancery_api::v1;
use chancery_client::Client;
use clap::Args;

use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::view::explained::Explained;

/// Arguments of `audit show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The record's index, as `chancery sign` and `chancery audit list` say it
    #[arg(value_name = "INDEX")]
    index: u64,
}

impl Show {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { index } = self;
        let explained = explain(client, index).await?;
        out.show(&explained)?;
        Ok(if explained.holds() { Exit::Done } else { Exit::No })
    }
}

/// The record at an index, with those that say how it ended and why its details are gone.
pub async fn explain(client: &Client, index: u64) -> Result<Explained, Failure> {
    let record = record(client, index).await?.ok_or_else(|| there_is_none(index))?;
    let outcome = named(client, record.outcome_index, index, "ended with").await?;
    let erasure = named(client, record.erasure_index, index, "has no details, as says").await?;
    Explained::of(record, outcome, erasure)
}

/// The record does not reach up to the index.
pub fn there_is_none(index: u64) -> Failure {
    Failure::refused(format!("there is no record {index}")).hint("the newest ones: chancery audit list")
}

/// The record that another one names, if it names one.
async fn named(client: &Client, named: Option<u64>, by: u64, how: &str) -> Result<Option<v1::AuditRecord>, Failure> {
    let Some(index) = named else { return Ok(None) };
    let found = record(client, index).await?;
    let missing = || Failure::failed(format!("record {by} {how} record {index}, which the service does not have"));
    found.map(Some).ok_or_else(missing)
}

/// The record at an index, if the record reaches up to it.
async fn record(client: &Client, index: u64) -> Result<Option<v1::AuditRecord>, Failure> {
    let request = v1::ListRecordsRequest {
        page_size: 1,
        start_index: Some(index),
        end_index: index.checked_add(1),
        ..v1::ListRecordsRequest::default()
    };
    let answer = client.audit().list_records(request).await.map_err(|status| client.error(status))?;
    Ok(answer.into_inner().records.into_iter().next())
}

//! sqlx: the connection in a task; statements prepared and kept by sqlx. Once with a statement for each row, as with
//! rusqlite, and once with a statement for all rows of a group, which saves hops to sqlx's own thread.

#[path = "../../load.rs"]
mod load;

use load::{DETAILS, GUARD, LEAF, Record, SCHEMA, SETTINGS, gather, measure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Connection, Row, SqliteConnection};
use std::path::PathBuf;
use tokio::sync::mpsc;

#[derive(Clone, Copy)]
enum Rows {
    OneByOne,
    Together,
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut memory = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut memory).await.expect("a version");
    eprintln!("sqlx on SQLite {version}");
    measure("sqlx, a statement for each row", |records, path| start(records, path, Rows::OneByOne)).await;
    measure("sqlx, a statement for all rows", |records, path| start(records, path, Rows::Together)).await;
}

async fn start(records: mpsc::Receiver<Record>, path: PathBuf, rows: Rows) {
    let options =
        SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("a database");
    sqlx::raw_sql(SETTINGS).execute(&mut connection).await.expect("settings");
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.expect("tables");
    tokio::spawn(async move { write(connection, records, rows).await.expect("writing") });
}

async fn write(mut connection: SqliteConnection, mut records: mpsc::Receiver<Record>, rows: Rows) -> sqlx::Result<()> {
    while let Some(first) = records.recv().await {
        let mut group = gather(first, &mut records);
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let count = group.len() as i64;
        let next: i64 =
            sqlx::query(GUARD).bind(count).bind(1_i64).fetch_one(&mut *transaction).await?.get(0);
        let first = next - count;
        match rows {
            Rows::OneByOne => {
                for (index, record) in (first..).zip(&mut group) {
                    sqlx::query(LEAF).bind(index).bind(std::mem::take(&mut record.leaf)).execute(&mut *transaction).await?;
                    let details = std::mem::take(&mut record.details);
                    sqlx::query(DETAILS).bind(index).bind(details).execute(&mut *transaction).await?;
                }
            }
            Rows::Together => {
                let mut leaves = sqlx::QueryBuilder::new("INSERT INTO leaves (idx, leaf) ");
                leaves.push_values((first..).zip(&mut group), |mut row, (index, record)| {
                    row.push_bind(index).push_bind(std::mem::take(&mut record.leaf));
                });
                leaves.build().execute(&mut *transaction).await?;
                let mut details = sqlx::QueryBuilder::new("INSERT INTO details (idx, content) ");
                details.push_values((first..).zip(&mut group), |mut row, (index, record)| {
                    row.push_bind(index).push_bind(std::mem::take(&mut record.details));
                });
                details.build().execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        for (index, record) in (first as u64..).zip(group) {
            record.durable.send(index).ok();
        }
    }
    Ok(())
}

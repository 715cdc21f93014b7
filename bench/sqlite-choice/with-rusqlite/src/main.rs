//! rusqlite: the connection on an OS thread of its own, statements prepared once.

#[path = "../../load.rs"]
mod load;

use load::{DETAILS, GUARD, LEAF, Record, SCHEMA, SETTINGS, gather, measure};
use rusqlite::{Connection, params};
use std::path::PathBuf;
use tokio::sync::mpsc;

#[tokio::main(worker_threads = 2)]
async fn main() {
    eprintln!("rusqlite on SQLite {}", rusqlite::version());
    measure("rusqlite, a thread of its own", start).await;
}

async fn start(records: mpsc::Receiver<Record>, path: PathBuf) {
    let connection = Connection::open(path).expect("a database");
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).expect("WAL");
    connection.execute_batch(SETTINGS).expect("settings");
    connection.execute_batch(SCHEMA).expect("tables");
    std::thread::spawn(move || write(&connection, records).expect("writing"));
}

fn write(connection: &Connection, mut records: mpsc::Receiver<Record>) -> rusqlite::Result<()> {
    while let Some(first) = records.blocking_recv() {
        let group = gather(first, &mut records);
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let count = group.len() as i64;
        let next: i64 = connection.prepare_cached(GUARD)?.query_row([count, 1], |row| row.get(0))?;
        for (index, record) in (next - count..).zip(&group) {
            connection.prepare_cached(LEAF)?.execute(params![index, record.leaf])?;
            connection.prepare_cached(DETAILS)?.execute(params![index, record.details])?;
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        for (index, record) in ((next - count) as u64..).zip(group) {
            record.durable.send(index).ok();
        }
    }
    Ok(())
}

//! How the record behaves at ten million records: `make bench-record`.
//!
//! Makes synthetic records by the code that the service makes its own by (salts, commitments, group commit, sync), in a
//! temporary folder, and prints what it measures as the table of docs/record-at-scale.md. A new measurement is a function
//! that gives rows, and a line in `measure`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    clippy::cast_precision_loss,
    reason = "a program that measures, and stops at the first surprise"
)]

mod append;
mod search;
mod start;
mod synthetic;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Instant;

/// A row of the table: what was measured, and what came out.
pub struct Measured {
    pub what: String,
    pub result: String,
}

impl Measured {
    pub fn new(what: impl Into<String>, result: impl Into<String>) -> Self {
        Self { what: what.into(), result: result.into() }
    }
}

fn main() {
    let Options { records, folder } = Options::parse();
    let temporary = tempfile::Builder::new().prefix("chancery-record-at-scale-").tempdir_in(&folder).unwrap();
    let path = temporary.path().join("chancery.db");
    let begun = Instant::now();
    let table = measure(&path, records);
    println!("| {records} records | |\n|---|---|");
    for Measured { what, result } in table {
        println!("| {what} | {result} |");
    }
    eprintln!("took {:.0} s in {}", begun.elapsed().as_secs_f64(), folder.display());
}

fn measure(path: &Path, records: u64) -> Vec<Measured> {
    let mut table = Vec::new();
    table.extend(append::measure(path, records));
    table.extend(start::measure(path));
    table.extend(verify::measure(path));
    table.extend(search::measure(path, records));
    table
}

struct Options {
    records: u64,
    folder: PathBuf,
}

impl Options {
    /// `--records N` and `--folder DIR`; the folder must be on the disk that is to be measured.
    fn parse() -> Self {
        let mut options = Self { records: 10_000_000, folder: std::env::temp_dir() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let value = arguments.next();
            match (argument.as_str(), value) {
                ("--records", Some(number)) => options.records = number.parse().expect("--records takes a number"),
                ("--folder", Some(folder)) => options.folder = folder.into(),
                _ => {
                    eprintln!("usage: record_at_scale [--records N] [--folder DIR]");
                    std::process::exit(2);
                }
            }
        }
        options
    }
}

//! How the record behaves at ten million records: `make bench-record`.
//!
//! Makes synthetic records by the code that the service makes its own by (salts, commitments, group commit, tree, sync), in the
//! database of a real service on a real SoftHSM in a temporary folder, and prints what it measures as the table of
//! docs/record-at-scale.md. A new measurement is a function that gives rows, and a line in `measure`.
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
mod archive;
mod erase;
mod memory;
mod search;
mod sign;
mod start;
mod synthetic;
mod tree;
mod verify;

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
    let records = options();
    let begun = Instant::now();
    let table = measure(records);
    println!("| {records} records | |\n|---|---|");
    for Measured { what, result } in table {
        println!("| {what} | {result} |");
    }
    eprintln!("took {:.0} s in {}", begun.elapsed().as_secs_f64(), std::env::temp_dir().display());
}

fn measure(records: u64) -> Vec<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut none, mut much) = runtime.block_on(async { (sign::Office::new().await, sign::Office::new().await) });
    let path = much.database();
    let mut table = Vec::new();
    table.extend(append::measure(&path, records));
    table.extend(runtime.block_on(sign::compare(&mut none, &mut much)));
    table.extend(start::measure(&path));
    table.extend(tree::proofs(&path));
    table.extend(verify::measure(&path));
    table.extend(search::measure(&path, records));
    // From here on it is no database any more that its service would start on.
    table.extend(tree::checkpoints(&path));
    table.extend(erase::measure(&path));
    table.extend(archive::measure(&path));
    table
}

/// `--records N`.
fn options() -> u64 {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => 10_000_000,
        ["--records", number] => number.parse().expect("--records takes a number"),
        _ => {
            eprintln!("usage: record_at_scale [--records N]\nTMPDIR says on which disk; CHANCERY_BIN which service.");
            std::process::exit(2);
        }
    }
}

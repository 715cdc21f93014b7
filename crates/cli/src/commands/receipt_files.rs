//! Receipts that signing commands write beside what was signed.

use std::io::Write;
use std::path::Path;

use chancery_client::ReceiptAnswer;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::line;

/// Writes the receipt into `path`. Where there is none, says so and how to get it later: the signature was made, so that is
/// no failure of the command, and its answer is no.
pub fn keep(
    path: &Path,
    receipt: Option<ReceiptAnswer>,
    record_index: u64,
    note: &mut dyn Write,
) -> Result<Exit, Failure> {
    match receipt {
        Some(Ok(text)) => {
            files::replace(path, text.as_bytes()).map_err(|failure| failure.hint(later(record_index)))?;
            Ok(Exit::Done)
        }
        Some(Err(why)) => {
            // Standard error may be closed; the exit code says it then.
            let _ignored = line(note, &format!("{}: no receipt: {why}", path.display()));
            let _ignored = line(note, &later(record_index));
            Ok(Exit::No)
        }
        None => Err(Failure::failed("a receipt was asked for, and the answer says nothing of one")),
    }
}

fn later(record_index: u64) -> String {
    format!("the signature was made; who may read the record makes its receipt: chancery audit receipt {record_index}")
}

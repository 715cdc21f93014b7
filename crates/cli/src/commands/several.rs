//! `chancery sign KEY FILE...` and `chancery verify KEY FILE...`: several files in as few calls as the service's limits
//! allow, each file's signature beside it in FILE.sig.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chancery_client::{Client, EcdsaEncoding, KeyRef, ReceiptAnswer, SignItem, Signed, Verdict, VerifyItem};
use serde::Serialize;

use super::receipt_files;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::input::Source;
use crate::output::{Format, Output, View, rows};

/// How many files are held at once: 64 MiB at most. The client makes calls of 3 MiB of them.
const GROUP: usize = 64;

/// A file that was signed.
#[derive(Debug, Serialize)]
struct SignedFile {
    file: String,
    signature: String,
    version: String,
    algorithm: &'static str,
    record_index: u64,
    /// Whether a receipt was made, where one was asked for, and why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_status: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct SignedFiles {
    signed: Vec<SignedFile>,
}

/// A file whose signature was checked.
#[derive(Debug, Serialize)]
struct CheckedFile {
    file: String,
    valid: bool,
    version: String,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct CheckedFiles {
    checked: Vec<CheckedFile>,
}

/// The first thing that went wrong decides how the command ends; all are told.
struct Failures<'a> {
    note: &'a mut dyn Write,
    first: Option<Exit>,
}

impl Failures<'_> {
    fn add(&mut self, file: &Path, failure: impl Into<Failure>) {
        let (text, exit) = failure.into().report();
        // Standard error may be closed; the exit code says it then.
        let _ignored = write!(self.note, "{}: {text}", file.display());
        self.first.get_or_insert(exit);
    }

    /// Writes the receipt of a file into FILE.receipt, where it was `wanted`.
    fn add_receipt(&mut self, file: &Path, receipt: Option<ReceiptAnswer>, wanted: bool, record_index: u64) {
        if !wanted {
            return;
        }
        match receipt_files::keep(&beside(file, ".receipt"), receipt, record_index, self.note) {
            Ok(Exit::Done) => {}
            Ok(exit) => {
                self.first.get_or_insert(exit);
            }
            Err(failure) => self.add(file, failure),
        }
    }
}

/// Signs each file and writes its signature into FILE.sig. A file that fails does not stop the others.
pub async fn sign(
    client: &Client,
    key: KeyRef,
    files: &[PathBuf],
    encoding: EcdsaEncoding,
    receipts: bool,
    out: &mut Output<'_>,
    note: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut failures = Failures { note, first: None };
    let mut signed = Vec::new();
    for group in files.chunks(GROUP) {
        let (files, items) = read(group, &mut failures, |file| {
            let message = Source::File(file.to_owned()).read_message()?;
            Ok(SignItem { encoding, receipt: receipts, ..SignItem::new(&key, message) })
        });
        for (file, answer) in files.into_iter().zip(client.batch_sign(items).await) {
            match answer.map_err(Failure::from).and_then(|answer| keep(file, answer)) {
                Ok((kept, receipt)) => {
                    failures.add_receipt(file, receipt, receipts, kept.record_index);
                    signed.push(kept);
                }
                Err(failure) => failures.add(file, failure),
            }
        }
    }
    // A header over nothing says nothing to people; what failed is on standard error.
    if !signed.is_empty() || out.format() == Format::Json {
        out.show(&SignedFiles { signed })?;
    }
    Ok(failures.first.unwrap_or(Exit::Done))
}

/// Checks each file against FILE.sig.
pub async fn verify(
    client: &Client,
    key: KeyRef,
    files: &[PathBuf],
    encoding: EcdsaEncoding,
    out: &mut Output<'_>,
    note: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut failures = Failures { note, first: None };
    let mut checked = Vec::new();
    for group in files.chunks(GROUP) {
        let (files, items) = read(group, &mut failures, |file| {
            let message = Source::File(file.to_owned()).read_message()?;
            let signature = Source::File(signature_file(file)).read_signature()?;
            Ok(VerifyItem { encoding, ..VerifyItem::new(&key, message, signature) })
        });
        for (file, answer) in files.into_iter().zip(client.batch_verify(items).await) {
            match answer {
                Ok(Verdict { version, valid, finding: _, state }) => checked.push(CheckedFile {
                    file: file.display().to_string(),
                    valid,
                    version: version.to_string(),
                    state: state.as_str(),
                }),
                Err(error) => failures.add(file, error),
            }
        }
    }
    let all_valid = checked.iter().all(|file| file.valid);
    if !checked.is_empty() || out.format() == Format::Json {
        out.show(&CheckedFiles { checked })?;
    }
    Ok(failures.first.unwrap_or(if all_valid { Exit::Done } else { Exit::No }))
}

/// The files that could be read, and what is asked about them.
fn read<'a, T>(
    files: &'a [PathBuf],
    failures: &mut Failures<'_>,
    item: impl Fn(&Path) -> Result<T, Failure>,
) -> (Vec<&'a Path>, Vec<T>) {
    let mut readable = (Vec::new(), Vec::new());
    for file in files {
        match item(file) {
            Ok(item) => {
                readable.0.push(file.as_path());
                readable.1.push(item);
            }
            Err(failure) => failures.add(file, failure),
        }
    }
    readable
}

fn keep(file: &Path, signed: Signed) -> Result<(SignedFile, Option<ReceiptAnswer>), Failure> {
    let signature = signature_file(file);
    files::replace(&signature, &signed.signature).map_err(|failure| {
        failure.hint(format!("the signature was made and is on the record at index {}", signed.record_index))
    })?;
    let kept = SignedFile {
        file: file.display().to_string(),
        signature: signature.display().to_string(),
        version: signed.version.to_string(),
        algorithm: signed.algorithm.as_str(),
        record_index: signed.record_index,
        receipt_status: receipt_files::status(signed.receipt.as_ref()),
    };
    Ok((kept, signed.receipt))
}

/// Where the signature of a file goes to and comes from.
fn signature_file(file: &Path) -> PathBuf {
    beside(file, ".sig")
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    PathBuf::from(name)
}

impl View for SignedFiles {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let line =
            |signed: &SignedFile| [signed.signature.clone(), signed.version.clone(), signed.record_index.to_string()];
        rows(out, ["SIGNATURE", "SIGNED BY", "RECORD"], self.signed.iter().map(line))
    }
}

impl View for CheckedFiles {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let line = |checked: &CheckedFile| {
            let verdict = if checked.valid { "valid" } else { "NOT VALID" };
            [verdict.to_owned(), checked.file.clone(), checked.version.clone(), checked.state.to_owned()]
        };
        rows(out, ["VERDICT", "FILE", "CHECKED AGAINST", "STATE"], self.checked.iter().map(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_stands_beside_its_file() {
        assert_eq!(signature_file(Path::new("a/b.pdf")), PathBuf::from("a/b.pdf.sig"));
    }
}

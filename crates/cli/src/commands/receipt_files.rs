//! Receipts that signing commands write beside what was signed.

use std::io::Write;
use std::path::Path;

use chancery_client::{NoReceipt, ReceiptAnswer};

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
            files::replace(path, text.as_bytes()).map_err(|failure| failure.hint(later(None, record_index)))?;
            Ok(Exit::Done)
        }
        Some(Err(why)) => {
            // Standard error may be closed; the exit code says it then.
            let _ignored = line(note, &format!("{}: no receipt: {why}", path.display()));
            let _ignored = line(note, &later(Some(why), record_index));
            Ok(Exit::No)
        }
        None => Err(Failure::failed("a receipt was asked for, and the answer says nothing of one")),
    }
}

/// `receipt_status` of an answer, as the API names it; none where no receipt was asked for.
pub fn status(receipt: Option<&ReceiptAnswer>) -> Option<&'static str> {
    receipt.map(|receipt| match receipt {
        Ok(_) => "ISSUED",
        Err(why) => why.as_str(),
    })
}

/// How the receipt can be had later, and what has to be done before.
fn later(why: Option<NoReceipt>, record_index: u64) -> String {
    let receipt = format!("chancery audit receipt {record_index}");
    match why {
        Some(NoReceipt::NotKept) => format!(
            "the signature was made; the operator has the log signed with a [system_ring] on a token that makes Ed25519 keys: \
             who may read the record then makes its receipt: {receipt}"
        ),
        Some(NoReceipt::NotKnown) => format!(
            "the signature was made; once the service is of a newer version, who may read the record makes its receipt: {receipt}"
        ),
        None | Some(NoReceipt::Unsigned | NoReceipt::NotInTime | NoReceipt::TooLarge | NoReceipt::Failed) => {
            format!("the signature was made; who may read the record makes its receipt: {receipt}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(receipt: Option<ReceiptAnswer>) -> (String, Result<Exit, Failure>) {
        let mut note = Vec::new();
        let kept = keep(Path::new("a.receipt"), receipt, 4, &mut note);
        (String::from_utf8(note).unwrap(), kept)
    }

    #[test]
    fn who_gets_no_receipt_is_told_what_would_give_him_one() {
        let of = |why| {
            let (said, kept) = said(Some(Err(why)));
            assert!(matches!(kept, Ok(Exit::No)), "{why}");
            assert!(said.starts_with(&format!("a.receipt: no receipt: {why}\n")), "{said}");
            assert!(said.ends_with("chancery audit receipt 4\n"), "{said}");
            said
        };
        let not_kept = of(NoReceipt::NotKept);
        assert!(not_kept.contains("does not sign its log") && not_kept.contains("[system_ring]"), "{not_kept}");
        assert!(of(NoReceipt::NotKnown).contains("of a newer version"));
        for why in [NoReceipt::Unsigned, NoReceipt::NotInTime, NoReceipt::TooLarge, NoReceipt::Failed] {
            let said = of(why);
            assert!(
                said.contains("made; who may read the record makes its receipt") && !said.contains("[system_ring]")
            );
        }
        assert!(said(None).1.is_err());
    }

    #[test]
    fn the_status_is_that_of_the_answer() {
        let issued = Ok("a receipt".to_owned());
        let statuses = [None, Some(issued), Some(Err(NoReceipt::NotKept)), Some(Err(NoReceipt::NotInTime))];
        assert_eq!(
            statuses.each_ref().map(|receipt| status(receipt.as_ref())),
            [None, Some("ISSUED"), Some("NOT_KEPT"), Some("NOT_IN_TIME")]
        );
    }
}

//! Receipts, as answers hold them.

use std::fmt;

use chancery_api::v1;

use crate::ClientError;

/// The receipt that was asked for, or why there is none: the text of a C2SP tlog-proof, which discloses the record of the
/// signature and shows that it is in the log (docs/receipts.md). Not verified here: `chancery verify --receipt` does, or
/// `chancery_audit::Receipt`, with the log's key.
pub type ReceiptAnswer = Result<String, NoReceipt>;

/// Why there is no receipt. The signature is as good as ever, and on the record: who may read that can make the receipt
/// later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoReceipt {
    /// The service has no key to sign its log with.
    NotKept,
    /// No checkpoint that counts could be made over it now: the log was not signed, or too few of its witnesses have cosigned.
    Unsigned,
    /// The call's time was over before.
    NotInTime,
    /// It was too long for the answer; in a smaller batch it may not be.
    TooLarge,
    /// The service could not read the record or its proof; its log says why.
    Failed,
    /// The service knows no receipts: it is older than they are.
    NotKnown,
}

impl NoReceipt {
    /// The answer's `receipt_status`, as the API names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotKept => "NOT_KEPT",
            Self::Unsigned => "UNSIGNED",
            Self::NotInTime => "NOT_IN_TIME",
            Self::TooLarge => "TOO_LARGE",
            Self::Failed => "FAILED",
            Self::NotKnown => "UNSPECIFIED",
        }
    }
}

impl fmt::Display for NoReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotKept => "the service does not sign its log, so that there are no receipts",
            Self::Unsigned => {
                "the log could not be signed now, or too few of its witnesses have cosigned it; /readyz of the service says which"
            }
            Self::NotInTime => "the call's time was over before the log was signed",
            Self::TooLarge => "it was too long for the answer; ask for fewer at once",
            Self::Failed => "the service could not read the record or its proof; its log says why",
            Self::NotKnown => "the service is of a version that makes none",
        })
    }
}

/// What an answer holds, where a receipt was `wanted`.
pub(crate) fn receipt(wanted: bool, receipt: String, status: i32) -> Result<Option<ReceiptAnswer>, ClientError> {
    if !wanted {
        return Ok(None);
    }
    let none = match v1::ReceiptStatus::try_from(status) {
        Ok(v1::ReceiptStatus::Issued) if receipt.is_empty() => {
            return Err(ClientError::Answer { what: "a receipt is said to be there, and is not".to_owned() });
        }
        Ok(v1::ReceiptStatus::Issued) => return Ok(Some(Ok(receipt))),
        Ok(v1::ReceiptStatus::Unspecified) => NoReceipt::NotKnown,
        Ok(v1::ReceiptStatus::NotKept) => NoReceipt::NotKept,
        Ok(v1::ReceiptStatus::Unsigned) => NoReceipt::Unsigned,
        Ok(v1::ReceiptStatus::NotInTime) => NoReceipt::NotInTime,
        Ok(v1::ReceiptStatus::TooLarge) => NoReceipt::TooLarge,
        Ok(v1::ReceiptStatus::Failed) => NoReceipt::Failed,
        Err(_) => {
            return Err(ClientError::Answer { what: format!("receipt status {status} is not known to this client") });
        }
    };
    Ok(Some(Err(none)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_there_or_it_is_said_why_not() {
        let of = |text: &str, status: v1::ReceiptStatus| receipt(true, text.to_owned(), status.into());
        assert_eq!(of("r", v1::ReceiptStatus::Issued).unwrap(), Some(Ok("r".to_owned())));
        assert_eq!(of("", v1::ReceiptStatus::Unsigned).unwrap(), Some(Err(NoReceipt::Unsigned)));
        assert_eq!(of("", v1::ReceiptStatus::Unspecified).unwrap(), Some(Err(NoReceipt::NotKnown)));
        assert!(of("", v1::ReceiptStatus::Issued).is_err());
        for number in (0..).take_while(|number| *number != v1::ReceiptStatus::Failed as i32 + 1) {
            let status = v1::ReceiptStatus::try_from(number).unwrap();
            let Ok(Some(Err(none))) = of("", status) else { continue };
            assert_eq!(format!("RECEIPT_STATUS_{}", none.as_str()), status.as_str_name());
        }
        assert!(receipt(true, String::new(), 99).is_err());
        assert_eq!(receipt(false, String::new(), 0).unwrap(), None);
    }
}

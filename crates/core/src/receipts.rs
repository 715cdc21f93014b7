//! Receipts: the intent of a signature, disclosed to whoever asked for the signature, with the proof that it is in the log.
//!
//! A receipt is made after the signature, from what is on the record by then, and never at its cost: where there is none in
//! time, the answer says why and the signature goes out all the same. Those who wait are covered together: one checkpoint
//! is made for all of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::tree::check_inclusion;
use chancery_audit::{DisclosedRecord, KeptTree, ProveError, Receipt, kept_tree};
use chancery_store::{Reader, RecordQuery, StoredDetails, StoredRecord};
use tokio::time::{Instant, timeout_at};

use crate::checkpoints::{NewestCheckpoint, Uncovered};
use crate::{Chancery, Error};

/// Of a call's time, what is kept for the way of the answer: a quarter, and at most so much.
const LONGEST_WAY_BACK: Duration = Duration::from_millis(500);

/// The receipt that somebody asked for, or why there is none: as text, C2SP tlog-proof (docs/receipts.md).
pub type ReceiptAnswer = Result<String, NoReceipt>;

/// Why there is no receipt. The signature is as good as ever, and on the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReceipt {
    /// The service has no key to sign its log with.
    NotKept,
    /// The log cannot be signed now.
    Unsigned,
    /// The call's time was over before.
    NotInTime,
    /// It is too long for the answer.
    TooLarge,
    /// Record or proof could not be read; the service's log says why.
    Failed,
}

impl fmt::Display for NoReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotKept => "the log is not signed",
            Self::Unsigned => "the log cannot be signed now",
            Self::NotInTime => "the call's time was over",
            Self::TooLarge => "it is too long",
            Self::Failed => "the record or its proof could not be read",
        })
    }
}

/// When to stop waiting, so that the answer is there before its caller stops waiting for it.
pub(crate) fn in_time(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 4).min(LONGEST_WAY_BACK)
}

impl Chancery {
    /// The receipt of the intent at `index`, of a caller's own signature.
    pub(crate) async fn receipt(&self, index: u64, deadline: Instant) -> ReceiptAnswer {
        let mut receipts = self.receipts(&[index], deadline).await;
        receipts.pop().unwrap_or(Err(NoReceipt::Failed))
    }

    /// The receipts of these intents, in their order, all by one checkpoint.
    pub(crate) async fn receipts(&self, indexes: &[u64], deadline: Instant) -> Vec<ReceiptAnswer> {
        let Some(last) = indexes.iter().max().copied() else { return Vec::new() };
        let made = timeout_at(in_time(deadline), self.make_receipts(indexes.to_vec(), last)).await;
        let none = |why| vec![Err(why); indexes.len()];
        made.unwrap_or(Err(NoReceipt::NotInTime)).unwrap_or_else(none)
    }

    async fn make_receipts(&self, indexes: Vec<u64>, last: u64) -> Result<Vec<ReceiptAnswer>, NoReceipt> {
        let newest = self.checkpoint_over(last).await.map_err(|uncovered| match uncovered {
            Uncovered::NotKept => NoReceipt::NotKept,
            Uncovered::Unsigned => NoReceipt::Unsigned,
        })?;
        let place = Arc::clone(&self.inner.watching).acquire_owned().await;
        let (this, reader, limit) = (self.clone(), self.inner.reader.clone(), self.inner.limits.max_receipt_bytes);
        let all = move || {
            let _place = place;
            let mut tree = kept_tree(&reader, newest.size());
            let mut bytes: usize = 0;
            let mut receipts = Vec::with_capacity(indexes.len());
            for index in indexes {
                receipts.push(match make(&reader, &mut tree, &newest, index) {
                    Ok(receipt) if bytes.saturating_add(receipt.len()) > limit => Err(NoReceipt::TooLarge),
                    Ok(receipt) => {
                        bytes += receipt.len();
                        Ok(receipt)
                    }
                    Err(error) => {
                        let error = this.not_proved(error);
                        if !matches!(error, Error::LogDamaged { .. }) {
                            tracing::error!(record = index, %error, "a receipt could not be made");
                        }
                        Err(NoReceipt::Failed)
                    }
                });
            }
            receipts
        };
        crate::blocking(all).await.map_err(|error| {
            tracing::error!(%error, "receipts could not be made");
            NoReceipt::Failed
        })
    }
}

/// One receipt. Its proof was checked: tiles of the database are believed by nobody.
fn make(reader: &Reader, tree: &mut KeptTree, newest: &NewestCheckpoint, index: u64) -> Result<String, ProveError> {
    let query = RecordQuery {
        since_index: Some(index),
        before_index: index.checked_add(1),
        limit: 1,
        ..RecordQuery::default()
    };
    let record = reader.list_records(&query)?.records.pop();
    let Some(StoredRecord { leaf, details: Some(StoredDetails { salt, content }), .. }) = record else {
        return Err(ProveError::NotThere("the record or its details are not there".to_owned()));
    };
    let hashes = tree.inclusion_proof(index)?;
    let checkpoint = newest.checkpoint.unverified();
    let hash = chancery_audit::tree::leaf_hash(&leaf);
    let checked = check_inclusion(&hash, index, checkpoint.size(), checkpoint.root(), &hashes);
    checked.map_err(|error| ProveError::Damaged { what: format!("the proof of record {index}: {error}") })?;
    let record = DisclosedRecord { leaf, salt, details: content };
    let receipt = Receipt::new(record, index, hashes, newest.checkpoint.clone());
    receipt.map(|receipt| receipt.to_string()).map_err(|error| ProveError::NotThere(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_is_left_for_the_way_back() {
        let from_now = |millis| Instant::now() + Duration::from_millis(millis);
        assert_eq!(in_time(from_now(10_000)), from_now(9_500));
        assert_eq!(in_time(from_now(400)), from_now(300));
        assert_eq!(in_time(Instant::now()), Instant::now());
    }
}

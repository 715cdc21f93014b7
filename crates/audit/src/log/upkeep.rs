//! What is done to the log as a whole, and records nothing itself: its tree, its checkpoints, and what is erased or moved to
//! the archive, which a record has said before.

use super::{Log, RecordError};
use crate::archive::{Copied, MendedTile};
use crate::checkpoint::SignedCheckpoint;
use crate::erase::{EraseStep, Erasure};
use crate::growing::TreeHead;
use crate::queue::{KeptAs, Request};
use crate::record::Recorded;
use chancery_model::Timestamp;
use chancery_store::CheckpointRow;

impl Log {
    /// The tree over all that was handed in before, which is durable then; `None` where the log has a gap, and so no tree.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn tree_head(&self) -> Result<Option<TreeHead>, RecordError> {
        self.ask(|answer| Request::TreeHead { answer }).await
    }

    /// Puts the hashes of archived leaves back that the archive gives, as `by` says. The tiles above them are as they were: see
    /// [`Self::remake_tree`].
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn mend(&self, _by: &Recorded, tiles: Vec<MendedTile>) -> Result<(), RecordError> {
        self.ask(|answer| Request::Mend { tiles, answer }).await
    }

    /// Makes the tree of the log again from the leaves, 16,384 at a time; as `by` says. Nothing else is
    /// recorded meanwhile. How many of the tiles were not those of the leaves.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn remake_tree(&self, _by: &Recorded) -> Result<u64, RecordError> {
        self.ask(|answer| Request::RemakeTree { answer }).await
    }

    /// Keeps a checkpoint, which is durable when this returns; the anchor gets it, too. Its signature must have been verified.
    /// One that `counts` as it is will be shown to others, and is kept as what they have seen.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn keep_checkpoint(
        &self,
        checkpoint: &SignedCheckpoint,
        signed: Timestamp,
        counts: bool,
    ) -> Result<(), RecordError> {
        self.keep(checkpoint, signed, if counts { KeptAs::Counting } else { KeptAs::Signed }).await
    }

    /// The same for one that was kept before, and that enough witnesses have cosigned by now, so that it counts. The anchor
    /// stays as it is.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn keep_cosigned(&self, checkpoint: &SignedCheckpoint, signed: Timestamp) -> Result<(), RecordError> {
        self.keep(checkpoint, signed, KeptAs::Cosigned).await
    }

    async fn keep(&self, checkpoint: &SignedCheckpoint, time: Timestamp, kept: KeptAs) -> Result<(), RecordError> {
        let size = checkpoint.unverified().size();
        let checkpoint = CheckpointRow { size, time, note: checkpoint.to_string() };
        self.ask(|answer| Request::Checkpoint { checkpoint, kept, answer }).await
    }

    /// Erases details: a step, for some of the records of which `by` says that they are erased. It is durable when this
    /// returns. Of the two steps, each is to be done with all of them before the next one begins: only what is empty is moved
    /// about in the database where rows are removed, and leaves nothing behind.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn erase(&self, by: &Recorded, step: EraseStep, indexes: &[u64]) -> Result<(), RecordError> {
        self.request_erasure(Erasure::new(by, step, indexes)).await
    }

    /// Removes what is left of details that were emptied, by an erasure that was interrupted: its act is on the record, and
    /// nothing else is removed.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn remove_emptied(&self, indexes: &[u64]) -> Result<(), RecordError> {
        self.request_erasure(Erasure::leftovers(indexes)).await
    }

    async fn request_erasure(&self, erasure: Erasure) -> Result<(), RecordError> {
        self.ask(|answer| Request::Erase { erasure, answer }).await
    }

    /// Empties the leaves of a tile that was copied to the archive, as `by` says, by the first of its records. `false`, and
    /// nothing done, where the archive does not end there any more. Durable when this returns.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn archive(&self, _by: &Recorded, copied: &Copied, first: u64) -> Result<bool, RecordError> {
        if !copied.firsts().any(|copied| copied == first) {
            return Ok(false);
        }
        self.ask(|answer| Request::Archive { first, answer }).await
    }

    /// Empties the database's write-ahead log, where what was erased may still be. `false` where somebody was reading just
    /// then: ask again.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn empty_wal(&self) -> Result<bool, RecordError> {
        self.ask(|answer| Request::EmptyWal { answer }).await
    }
}

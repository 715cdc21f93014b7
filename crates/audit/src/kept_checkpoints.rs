//! The checkpoints that a database keeps, in the order of their sizes.

use chancery_store::{CheckpointRow, Reader, StoreError};
use std::collections::VecDeque;

/// How many are read at once.
const CHUNK: u32 = 1_024;

type Read = fn(&Reader, Option<u64>, u32) -> Result<Vec<CheckpointRow>, StoreError>;

/// The checkpoints of one kind, a chunk at a time, up to the one that was the newest when the reading began: a service may
/// have replaced that one since.
pub(crate) struct KeptCheckpoints<'a> {
    reader: &'a Reader,
    read_after: Read,
    after: Option<u64>,
    newest: Option<CheckpointRow>,
    read: VecDeque<CheckpointRow>,
}

impl<'a> KeptCheckpoints<'a> {
    /// Those that the log has signed.
    pub fn signed(reader: &'a Reader) -> Result<Self, StoreError> {
        Ok(Self::new(reader, reader.newest_checkpoint()?, Reader::checkpoints_after))
    }

    /// Those that enough witnesses had cosigned.
    pub fn cosigned(reader: &'a Reader) -> Result<Self, StoreError> {
        Ok(Self::new(reader, reader.newest_cosigned_checkpoint()?, Reader::cosigned_checkpoints_after))
    }

    fn new(reader: &'a Reader, newest: Option<CheckpointRow>, read_after: Read) -> Self {
        Self { reader, read_after, after: None, newest, read: VecDeque::new() }
    }

    /// The newest of them, as long as it is still to come.
    pub const fn newest(&self) -> Option<&CheckpointRow> {
        self.newest.as_ref()
    }
}

impl Iterator for KeptCheckpoints<'_> {
    type Item = Result<CheckpointRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let newest = self.newest.as_ref()?.size;
        if self.read.is_empty() {
            match (self.read_after)(self.reader, self.after, CHUNK) {
                Ok(rows) => self.read = rows.into(),
                Err(error) => {
                    self.newest = None;
                    return Some(Err(error));
                }
            }
        }
        let row = match self.read.pop_front() {
            Some(row) if row.size < newest => row,
            Some(_) | None => self.newest.take()?,
        };
        self.after = Some(row.size);
        Some(Ok(row))
    }
}

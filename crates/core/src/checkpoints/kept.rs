//! What the database has kept of checkpoints, from which the service goes on at its start.

use std::sync::Arc;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_store::{CheckpointRow, Reader, StoreError};

use super::NewestCheckpoint;

/// The newest checkpoints of each kind.
pub(crate) struct KeptForStart {
    /// Of those that the log has signed.
    newest: Option<CheckpointRow>,
    /// Of those that enough witnesses had cosigned, by the settings of then.
    cosigned: Option<CheckpointRow>,
    /// Of those that counted, by the settings of then: others have seen it.
    shown: Option<CheckpointRow>,
}

/// The same, read.
pub(super) struct Kept {
    pub newest: Option<Arc<NewestCheckpoint>>,
    pub cosigned: Option<Arc<NewestCheckpoint>>,
    pub shown: Option<Arc<NewestCheckpoint>>,
}

impl KeptForStart {
    /// Reads them. Reading blocks.
    pub fn read(reader: &Reader) -> Result<Self, StoreError> {
        Ok(Self {
            newest: reader.newest_checkpoint()?,
            cosigned: reader.newest_cosigned_checkpoint()?,
            shown: reader.shown_checkpoint()?,
        })
    }

    /// One that cannot be read is passed over. Where the state is held to its seal, it was found before, with what to do; or
    /// it will be, once the token answers with which that is done, and until then nothing is decided. Where the state is held
    /// to no seal, the next checkpoint takes its place.
    pub(super) fn parsed(self) -> Kept {
        let Self { newest, cosigned, shown } = self;
        Kept { newest: parsed(newest), cosigned: parsed(cosigned), shown: parsed(shown) }
    }
}

fn parsed(row: Option<CheckpointRow>) -> Option<Arc<NewestCheckpoint>> {
    let CheckpointRow { size, time, note } = row?;
    match SignedCheckpoint::parse(note.as_bytes()) {
        Ok(checkpoint) => Some(Arc::new(NewestCheckpoint { checkpoint, signed: time })),
        Err(error) => {
            tracing::error!(
                size, %error,
                "a checkpoint of the log in the database cannot be read: somebody edited it; it is passed over, and `chancery \
                 state check` says more once the token of the system ring answers"
            );
            None
        }
    }
}

//! The seal: a MAC over the state root, written by the one thread that writes to the database, in the transaction of each
//! change (docs/state-root.md).
//!
//! What makes the MAC is handed in; this crate knows only over which bytes.

use crate::anchor::{Anchor, AnchorKeeper, ToAnchor, Trouble};
use crate::growing::Growing;
use crate::log::RecordError;
use crate::record::NewSeal;
use crate::state_root::StateRoot;
use chancery_model::{Sha256Hash, Uid};
use chancery_store::{CheckpointRow, Epoch, RowChange, Seal, StoreError, Taken, Transaction, Writer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

const STATE: &[u8] = b"chancery/state/v1";

/// What is sealed, in bytes: which database, its epoch, and the root.
#[must_use]
pub fn sealed(database: Uid, epoch: Epoch, root: &Sha256Hash) -> [u8; 73] {
    let mut bytes = [0; 73];
    let parts: [&[u8]; 4] = [STATE, database.as_bytes(), &epoch.get().to_be_bytes(), root];
    bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    bytes
}

/// Makes MACs with a key of whoever holds it.
#[derive(Clone)]
pub struct Sealer(Arc<Mac>);

type Mac = dyn Fn(&[u8]) -> [u8; 32] + Send + Sync;

impl Sealer {
    /// One that makes MACs so.
    #[must_use]
    pub fn new(mac: impl Fn(&[u8]) -> [u8; 32] + Send + Sync + 'static) -> Self {
        Self(Arc::new(mac))
    }

    fn seal(&self, database: Uid, epoch: Epoch, root: Sha256Hash) -> Seal {
        Seal { root, mac: (self.0)(&sealed(database, epoch, &root)) }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// What the writing thread knows of the seal.
pub(crate) struct Sealing {
    database: Uid,
    /// Whether the database had a seal when it was opened.
    was_sealed: bool,
    anchor: Option<PathBuf>,
    /// The log's newest checkpoint.
    checkpoint: Option<Arc<str>>,
    armed: Option<Armed>,
    trouble: Arc<Trouble>,
}

struct Armed {
    root: StateRoot,
    sealer: Sealer,
    epoch: Epoch,
    seal: Seal,
    /// Keeps the anchor, once there has been one.
    keeper: Option<AnchorKeeper>,
}

/// What may be done of a change.
pub(crate) enum Admitted {
    /// All of it.
    Whole,
    /// It changes no row and is recorded; the epoch, which is sealed, stays.
    Record,
    /// Nothing: it would have to be sealed, and nobody can.
    Nothing,
}

impl Sealing {
    pub fn of(writer: &Writer, anchor: Option<PathBuf>) -> Result<Self, StoreError> {
        let (database, seal) = writer.seal()?;
        let was_sealed = seal.is_some();
        let mut sealing = Self { database, was_sealed, anchor, checkpoint: None, armed: None, trouble: Arc::default() };
        sealing.checkpointed(writer.newest_checkpoint()?);
        Ok(sealing)
    }

    /// Why the anchor cannot be written; `None` while it can.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    pub fn admits(&self, rows: &[RowChange]) -> Admitted {
        match (&self.armed, self.was_sealed) {
            (Some(_), _) | (None, false) => Admitted::Whole,
            (None, true) if rows.is_empty() => Admitted::Record,
            (None, true) => Admitted::Nothing,
        }
    }

    /// Says outside of the database where it is about to stand, sealed anew and with so many records more. The anchor follows
    /// the commit, and nobody could tell a database without one, because the service died between the two, from one whose
    /// anchor was removed.
    pub fn announce(&self, from: Epoch, new: &NewSeal, rows: &[RowChange], next_index: u64) -> Result<(), RecordError> {
        let Some(path) = &self.anchor else { return Ok(()) };
        let mut root = new.root.clone();
        rows.iter().for_each(|row| root.apply(row));
        let (database, epoch) = (new.database.unwrap_or(self.database), Epoch::new(from.get() + 1));
        let Seal { root, mac } = new.sealer.seal(database, epoch, root.root());
        // Which checkpoint is the newest once some are void, is known when they are.
        let checkpoint = if new.void_checkpoints.is_empty() { self.checkpoint.clone() } else { None };
        // The leaves of this very act are not in the tree yet.
        let log_root = None;
        let anchor = Anchor { database, epoch: epoch.get(), next_index, log_root, root, mac, checkpoint };
        anchor.announce(path).map_err(|error| unwritten(path, &error))
    }

    /// The database has another id from now on.
    pub const fn rename(&mut self, database: Uid) {
        self.database = database;
    }

    /// From now on each change is sealed. `root` is that of the state at `epoch`, which the database is at.
    pub fn arm(&mut self, epoch: Epoch, mut root: StateRoot, sealer: Sealer) {
        let seal = sealer.seal(self.database, epoch, root.root());
        let keeper = self.armed.take().and_then(|armed| armed.keeper);
        self.armed = Some(Armed { root, sealer, epoch, seal, keeper });
    }

    /// Follows a change that the transaction makes, and seals what it comes to.
    pub fn changed(
        &mut self,
        transaction: &mut Transaction<'_>,
        taken: Taken,
        rows: &[RowChange],
    ) -> Result<(), StoreError> {
        let Some(armed) = &mut self.armed else { return Ok(()) };
        rows.iter().for_each(|row| armed.root.apply(row));
        armed.epoch = taken.epoch;
        armed.seal = armed.sealer.seal(self.database, taken.epoch, armed.root.root());
        transaction.set_seal(&armed.seal)
    }

    /// The log's newest checkpoint is this one.
    pub fn checkpointed(&mut self, checkpoint: Option<CheckpointRow>) {
        self.checkpoint = checkpoint.map(|checkpoint| checkpoint.note.into());
    }

    /// Keeps outside of the database where it stands, and does not wait for it: a database that is ahead of its anchor is as
    /// it should be.
    pub fn committed(&self, changed: bool, next_index: u64, tree: &Growing) {
        if let Some(keeper) = self.armed.as_ref().and_then(|armed| armed.keeper.as_ref())
            && let Some(anchor) = self.anchor(next_index, tree)
        {
            keeper.keep(anchor, changed);
        }
    }

    /// The database has failed: nothing more is written, since it may be the disk.
    pub fn abandon(&self) {
        if let Some(keeper) = self.armed.as_ref().and_then(|armed| armed.keeper.as_ref()) {
            keeper.abandon();
        }
    }

    /// Keeps where the database stands, and waits for it: an anchor that cannot be written is to be known before anything
    /// relies on it. Of a state that was `sealed` just now the anchor was announced; then it is tried until it is written.
    pub fn anchored(&mut self, next_index: u64, tree: &Growing, sealed: bool) -> Result<(), RecordError> {
        let anchor = self.anchor(next_index, tree);
        let (Some(path), Some(armed), Some(anchor)) = (&self.anchor, &mut self.armed, anchor) else { return Ok(()) };
        let failed = |error: std::io::Error| unwritten(path, &error);
        match &armed.keeper {
            Some(keeper) => keeper.keep(anchor, true),
            None => {
                let whole = anchor.clone().with_log_root();
                let written = match whole.write(path) {
                    Err(error) if !sealed => return Err(failed(error)),
                    written => written.ok().map(|()| whole),
                };
                let keeper = match AnchorKeeper::start(path.clone(), written, Arc::clone(&self.trouble)) {
                    Err(error) if !sealed => return Err(failed(error)),
                    keeper => keeper,
                };
                match keeper {
                    Ok(keeper) => {
                        keeper.keep(anchor, true);
                        armed.keeper = Some(keeper);
                    }
                    Err(error) => drop(self.trouble.send_replace(Some(error.to_string()))),
                }
            }
        }
        Ok(())
    }

    fn anchor(&self, next_index: u64, tree: &Growing) -> Option<ToAnchor> {
        let Armed { epoch, seal, .. } = self.armed.as_ref()?;
        let checkpoint = self.checkpoint.clone();
        let (database, epoch) = (self.database, epoch.get());
        let anchor = Anchor { database, epoch, next_index, log_root: None, root: seal.root, mac: seal.mac, checkpoint };
        // Of another size it would be of another moment than the anchor.
        let tree = tree.appender().filter(|tree| tree.size() == next_index).cloned();
        Some(ToAnchor { anchor, tree })
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> RecordError {
    RecordError::Anchor { path: path.to_owned(), reason: error.to_string() }
}

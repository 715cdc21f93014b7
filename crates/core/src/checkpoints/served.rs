//! The log as C2SP tlog-tiles serves it: the newest checkpoint, the tiles of its tree, and its leaves.

use std::sync::Arc;

use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::tree::{Resource, Tile};
use chancery_audit::{TreeHead, served_entries, served_tile};
use chancery_model::Action;
use chancery_policy::{OperationContext, Resource as Protected};
use chancery_store::{CheckpointRow, Reader};
use tokio::time::timeout_at;

use super::NewestCheckpoint;
use crate::authorize::Asked;
use crate::state_root::log_keys;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

/// How many checkpoints are read at once.
const CHUNK: u32 = 1_024;

impl Chancery {
    /// The checkpoint that the service shows to others. What is served reaches no further.
    #[must_use]
    pub fn served_checkpoint(&self) -> Option<Arc<NewestCheckpoint>> {
        self.inner.checkpoints.as_ref()?.standing.borrow().counted.clone()
    }

    /// A resource of the log, to whoever may read the record; `None` where the log, up to its checkpoint, has none such.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::LogNotSigned`]; [`Error::NoCheckpoint`] where none counts yet;
    /// [`Error::DeadlineExceeded`]; [`Error::LogDamaged`] where it is not what was signed;
    /// [`Error::Internal`] where the store cannot be read.
    pub async fn log_resource(&self, from: &Requester, resource: Resource) -> Result<Option<Vec<u8>>, Error> {
        let asked = Asked::of(from, Action::ListRecords, &"auditLog");
        self.authorize(&self.snapshot(), asked, Protected::AuditLog, OperationContext::Plain)?;
        let none = if self.inner.checkpoints.is_some() { Error::NoCheckpoint } else { Error::LogNotSigned };
        let checkpoint = self.served_checkpoint().ok_or(none)?;
        let (tile, read): (_, fn(&Reader, Tile, TreeHead) -> _) = match resource {
            Resource::Checkpoint => return Ok(Some(checkpoint.checkpoint.to_string().into_bytes())),
            Resource::Tile(tile) => (tile, served_tile),
            Resource::Entries(tile) => (tile, served_entries),
        };
        let there = Tile::in_tree(tile.level(), tile.index(), checkpoint.size());
        if there.is_none_or(|there| there.width() < tile.width()) {
            return Ok(None);
        }
        let place = place_in(&self.inner.listing, from.deadline).await?;
        let (reader, signed) = (self.inner.reader.clone(), checkpoint.tree());
        let reading = blocking_in(place, move || read(&reader, tile, signed));
        let read = timeout_at(from.deadline, reading)
            .await
            .map_err(|_elapsed| Error::DeadlineExceeded { record_index: None })??;
        Ok(Some(read.map_err(|error| self.not_proved(error))?))
    }
}

/// The keys by which the log in a database signs and has signed, under each name that its checkpoints bear: as the state in that
/// database pins them, which is its own word. Reading blocks.
///
/// # Errors
/// [`Error::Internal`]: the database cannot be read.
pub fn kept_log_keys(reader: &Reader) -> Result<Vec<VerifierKey>, Error> {
    let state = reader.load_state()?;
    let mut names: Vec<KeyName> = Vec::new();
    let mut note = |rows: &[CheckpointRow]| {
        for row in rows {
            let name = row.note.lines().next().and_then(|origin| KeyName::parse(origin).ok());
            names.extend(name.filter(|name| !names.contains(name)));
        }
    };
    let kinds: [fn(&Reader, Option<u64>, u32) -> _; 2] =
        [Reader::checkpoints_after, Reader::cosigned_checkpoints_after];
    for read_after in kinds {
        let mut after = None;
        loop {
            let rows = read_after(reader, after, CHUNK)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.size);
            note(&rows);
        }
    }
    note(reader.shown_checkpoint()?.as_slice());
    let public = log_keys(&state);
    let key = |name: &KeyName, public| VerifierKey::from_public_key(name.clone(), SignatureKind::Ed25519, public).ok();
    Ok(names.iter().flat_map(|name| public.iter().filter_map(move |public| key(name, public))).collect())
}

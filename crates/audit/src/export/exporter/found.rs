//! What is in the folder before: nothing, what was published, or what an interrupted run has left behind it.

use super::{is_root, write_tile};
use crate::checkpoint::SignedCheckpoint;
use crate::export::details::{leaves_of, read_details};
use crate::export::error::{ExportError, failed};
use crate::export::files::ExportedLog;
use crate::export::limits::{BUNDLE_BYTES, CHECKPOINT_BYTES, DETAILS_BYTES, TILE_BYTES};
use crate::tree::{Appender, Resource, TILE_WIDTH, Tile, leaf_hash, read_bundle};
use crate::verify::LogRecord;
use chancery_model::Sha256Hash;

/// How many of the whole bundles that were published are held to their hashes again before an export is gone on with.
const HELD_BUNDLES: u64 = 16;

/// Makes the folder, or finds what was published in it.
pub(super) fn prepare(export: &ExportedLog, details: bool) -> Result<Option<SignedCheckpoint>, ExportError> {
    let folder = export.folder();
    export.make()?;
    if export.holds("tile") || export.is_published() {
        if export.has_details() != details {
            let begun = if details { "without" } else { "with" };
            return Err(ExportError::Details { folder: folder.to_owned(), begun });
        }
        let Some(bytes) = export.read(Resource::Checkpoint, CHECKPOINT_BYTES)? else { return Ok(None) };
        let parsed = SignedCheckpoint::parse(&bytes);
        return parsed.map(Some).map_err(|error| export.damaged(format!("the checkpoint cannot be read: {error}")));
    }
    let empty = std::fs::read_dir(folder).map_err(failed("list", folder))?.all(|entry| {
        // What an export makes before its first tile.
        entry.is_ok_and(|entry| entry.file_name() == "details")
    });
    if !empty {
        return Err(ExportError::Occupied { folder: folder.to_owned() });
    }
    if details { export.make_details().map(|()| None) } else { Ok(None) }
}

/// The tree of the whole bundles that are there, which must have the root that was published, and that of a checkpoint of
/// fewer records.
pub(super) fn take_up(
    export: &ExportedLog,
    before: Option<&SignedCheckpoint>,
    checkpoint: &SignedCheckpoint,
) -> Result<Appender, ExportError> {
    let published = before.map_or(0, |before| before.unverified().size());
    let size = checkpoint.unverified().size();
    let other = || export.damaged(format!("its tiles are not those of its checkpoint of {published} records"));
    let check = |tree: &Appender| {
        if tree.size() == published && before.is_some_and(|before| !is_root(tree, before)) {
            return Err(other());
        }
        if tree.size() == size && size < published && !is_root(tree, checkpoint) {
            return Err(ExportError::Fork { size });
        }
        Ok(())
    };
    let mut tree = Appender::new();
    for index in 0..size.max(published) / u64::from(TILE_WIDTH) {
        let Some(tile) = Tile::new(0, index, TILE_WIDTH) else { break };
        let hashes = if end_of(tile) <= published {
            let hashes = read_tile(export, tile)?;
            if let Some(hashes) = hashes.as_ref().filter(|_| end_of(tile) > held_from(published))
                && !holds_bundle(export, tile, hashes, true)?
            {
                let what = format!("{} and its details are not those of {tile}", Resource::Entries(tile));
                return Err(export.damaged(what));
            }
            hashes
        } else {
            left_by_an_interrupted_run(export, tile)?
        };
        let Some(hashes) = hashes else { break };
        for hash in hashes {
            check(&tree)?;
            let mut written = Ok(());
            tree.append(hash, |tile, hashes| {
                // Beyond what was published there is no telling what an interrupted run has left there.
                let missing = end_of(tile) > published || !export.holds(&tile.to_string());
                if written.is_ok() && tile.level() > 0 && missing {
                    written = write_tile(export, tile, hashes);
                }
            });
            written?;
        }
    }
    if tree.size() <= published {
        let mut whole = tree.clone();
        if let Some(tile) = Tile::edge_of_tree(published).find(|tile| tile.level() == 0) {
            for hash in read_tile(export, tile)?.into_iter().flatten() {
                check(&whole)?;
                whole.append(hash, |_, _| ());
            }
        }
        if whole.size() != published {
            return Err(other());
        }
        check(&whole)?;
    }
    Ok(tree)
}

/// One more than the last record below a tile.
pub(super) fn end_of(tile: Tile) -> u64 {
    (tile.index() * u64::from(TILE_WIDTH) + u64::from(tile.width())) << (8 * u32::from(tile.level()))
}

/// From which record on what was published is held to its hashes before it is gone on with.
pub(super) const fn held_from(published: u64) -> u64 {
    let width = TILE_WIDTH as u64;
    (published / width).saturating_sub(HELD_BUNDLES) * width
}

/// The hashes of a whole tile beyond what was published, if its bundle is there, too: a tile that is not whole, a bundle of
/// other entries, and details of which nothing is left end what can be gone on with.
fn left_by_an_interrupted_run(export: &ExportedLog, tile: Tile) -> Result<Option<Vec<Sha256Hash>>, ExportError> {
    let bytes = export.read(Resource::Tile(tile), TILE_BYTES)?;
    let Some(hashes) = bytes.and_then(|bytes| hashes_of(tile, &bytes)) else { return Ok(None) };
    Ok(holds_bundle(export, tile, &hashes, false)?.then_some(hashes))
}

/// Whether the entries of a whole tile can be read, and are those of its hashes, with their file of details where there are
/// such. A file without any may be the right one, where somebody removed all of them, or what a loss of power has left of
/// another.
fn holds_bundle(
    export: &ExportedLog,
    tile: Tile,
    hashes: &[Sha256Hash],
    may_be_empty: bool,
) -> Result<bool, ExportError> {
    let Some(bytes) = export.read(Resource::Entries(tile), BUNDLE_BYTES)? else { return Ok(false) };
    let Ok(leaves) = read_bundle(&bytes, tile.width()) else { return Ok(false) };
    if !leaves.iter().map(|leaf| leaf_hash(leaf)).eq(hashes.iter().copied()) {
        return Ok(false);
    }
    if !export.has_details() {
        return Ok(true);
    }
    let Some(details) = export.read_details(tile, DETAILS_BYTES)? else { return Ok(false) };
    if details.len() as u64 > DETAILS_BYTES || (details.is_empty() && !may_be_empty) {
        return Ok(false);
    }
    let mut records: Vec<LogRecord> = leaves_of(tile, &leaves).collect();
    Ok(read_details(tile, &details, &mut records).is_ok())
}

fn read_tile(export: &ExportedLog, tile: Tile) -> Result<Option<Vec<Sha256Hash>>, ExportError> {
    let Some(bytes) = export.read(Resource::Tile(tile), TILE_BYTES)? else { return Ok(None) };
    let hashes = hashes_of(tile, &bytes);
    hashes.map(Some).ok_or_else(|| export.damaged(format!("{tile} has {} bytes", bytes.len())))
}

fn hashes_of(tile: Tile, bytes: &[u8]) -> Option<Vec<Sha256Hash>> {
    match bytes.as_chunks() {
        (hashes, []) if hashes.len() == usize::from(tile.width()) => Some(hashes.to_vec()),
        _ => None,
    }
}

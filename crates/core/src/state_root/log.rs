//! The log is held to what was said of it: to the newest checkpoint in the database, to the newest that witnesses have
//! cosigned, to the one that was shown last, to the one in the anchor, and to the root that the anchor has over all of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chancery_audit::archive::{Doubt, Mending, walk_with_archive};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::tree::TileError;
use chancery_audit::{Anchor, TreeHead, VoidCheckpoints, WalkedLeaves, kept_tree, walk_leaves};
use chancery_crypto::PublicKey;
use chancery_model::{Algorithm, Sha256Hash};
use chancery_store::{CheckpointRow, Epoch, Reader, State, StoreError};

use super::refusal::StateRefusal;
use super::{StateKeeper, Trouble};
use crate::archive::{PATIENCE, patiently, silent, why};
use crate::checkpoints::log_key_name;
use crate::{Error, details};

/// How the log is held to what was said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thoroughness {
    /// By the tiles of its tree, which a start can afford; where they say something else, by the leaves.
    Tiles,
    /// By all of its leaves, and each tile by them.
    Leaves,
}

/// What of the log's tree is not as it should be, and can be made again.
#[derive(Debug, Default)]
pub(super) struct WrongTiles {
    /// How many tiles are not those of the leaves.
    pub count: u64,
    /// The hashes of archived leaves that are to be put back first; `None` where those that are kept do.
    mending: Option<Mending>,
}

/// What was said of the log: the root over its first leaves.
struct Said {
    /// Where.
    place: Place,
    size: u64,
    root: Sha256Hash,
}

enum Place {
    Checkpoint(String),
    /// The checkpoint in the anchor. Where the anchor's own word was found wrong, this adds nothing.
    AnchoredCheckpoint(String),
    Anchor(PathBuf),
}

impl StateKeeper {
    /// Compares the log with what was said of it. The token is not asked. What is not as it should be of its tree, as far as it
    /// was looked at; where that is all, nothing is wrong with the log.
    pub(super) async fn compare_log(
        &self,
        state: &State,
        anchor: Option<&Anchor>,
        thoroughness: Thoroughness,
        found: &mut Vec<StateRefusal>,
    ) -> Result<WrongTiles, Error> {
        let keys = log_keys(state);
        // What is wrong with the anchor as such was said.
        let anchor = if found.iter().any(StateRefusal::is_of_the_anchor) { None } else { anchor.cloned() };
        let of_this = state.database;
        let (reader, path, leaves) = (self.reader.clone(), self.anchor.clone(), state.leaves);
        let compared = crate::blocking(move || {
            let (mut said, mut found) = (Vec::new(), Vec::new());
            let mut take = |place: Place, note: &str| match said_by(&keys, leaves, place, note) {
                Ok(one) => said.push(one),
                Err(refusal) => found.push(refusal),
            };
            let newest = reader.newest_checkpoint()?.map(|row| row.note);
            let cosigned = reader.newest_cosigned_checkpoint()?.map(|row| row.note);
            let shown = reader.shown_checkpoint()?.map(|row| row.note);
            let shown = shown.filter(|shown| newest.as_ref() != Some(shown) && cosigned.as_ref() != Some(shown));
            for (place, note) in [
                ("in the database", newest),
                ("with cosignatures in the database", cosigned),
                ("that was shown last, in the database,", shown),
            ] {
                if let Some(note) = note {
                    take(Place::Checkpoint(place.to_owned()), &note);
                }
            }
            if let Some(note) = anchor.as_ref().and_then(|anchor| anchor.checkpoint.as_ref()) {
                take(Place::AnchoredCheckpoint(format!("in the anchor {}", path.display())), note);
            }
            // Of a database that is behind it, the anchor says nothing.
            let anchored = anchor.filter(|anchor| anchor.database == of_this && anchor.next_index <= leaves);
            if let Some((size, root)) = anchored.and_then(|anchor| Some((anchor.next_index, anchor.log_root?))) {
                said.push(Said { place: Place::Anchor(path), size, root });
            }
            let walked = hold_to(&reader, leaves, &said, thoroughness)?;
            Ok::<_, StoreError>((said, found, walked, reader.archived()?))
        });
        let (said, compared, walked, archived) = compared.await??;
        found.extend(compared);
        let Some(mut walked) = walked else { return Ok(WrongTiles::default()) };
        let mut mending = None;
        if said.iter().any(|one| !one.is_of(&walked))
            // Nothing is archived that was not signed: to what else could it be held?
            && let Some(signed) = newest_signed(&said).filter(|signed| (1..=signed.size).contains(&archived))
        {
            match self.walk_with_archive(leaves, &said, signed).await? {
                Some(with) if with.0.roots.get(&signed.size) == Some(&Some(signed.root)) => {
                    (walked, mending) = (with.0, Some(with.1));
                }
                Some((_, with)) => found.extend(with.doubt().map(|Doubt { records: (first, last), why: error }| {
                    StateRefusal::ArchivedHashes { first: *first, last: *last, why: why(error) }
                })),
                None => {
                    let why = why(&silent(self.archive.as_ref()));
                    found.push(StateRefusal::ArchivedHashes { first: 0, last: archived - 1, why });
                }
            }
        }
        found.extend(differing(said, &walked));
        Ok(WrongTiles { count: walked.wrong_tiles, mending })
    }

    /// Walks the leaves once more, with the archive's where the hashes in the database are not what was signed; `None` where
    /// the archive does not answer.
    async fn walk_with_archive(
        &self,
        leaves: u64,
        said: &[Said],
        signed: TreeHead,
    ) -> Result<Option<(WalkedLeaves, Mending)>, Error> {
        let (reader, archive, sizes) = (self.reader.clone(), self.archive.clone(), sizes(said));
        let walk = move |step: &dyn Fn()| walk_with_archive(&reader, archive.as_ref(), signed, leaves, &sizes, step);
        Ok(patiently(PATIENCE, walk).await?.transpose()?)
    }

    /// Makes the tree of the log again from its leaves, on the record; before, the hashes of archived leaves are put back that
    /// were found to be missing. How many tiles were not as they should be.
    pub(super) async fn remake_tiles(&self, epoch: Epoch, wrong: WrongTiles) -> Result<u64, Trouble> {
        let recorded = self.log.note(epoch, details::tree_remade()).await?.recorded;
        let mut remade = 0;
        let mut mending = wrong.mending.unwrap_or_default();
        // Outside of the writing thread, which never waits for an archive.
        while mending.tiles() > 0 {
            let read = move |_: &dyn Fn()| {
                let tiles = mending.read()?;
                Ok((mending, tiles))
            };
            let tiles;
            let read = patiently(PATIENCE, read).await?;
            let late = || Err(StoreError::Archived { index: 0, source: silent(self.archive.as_ref()) });
            (mending, tiles) = read.unwrap_or_else(late).map_err(Error::from)?;
            remade += tiles.len() as u64;
            self.log.mend(&recorded, tiles).await?;
        }
        if remade > 0 {
            tracing::warn!(
                tiles = remade,
                record = recorded.index(),
                "the hashes of archived leaves in the database were not what was signed, and were made again from the archive"
            );
        }
        remade += self.log.remake_tree(&recorded).await?;
        if remade > 0 {
            tracing::warn!(
                tiles = remade,
                record = recorded.index(),
                "tiles of the log's tree were not those of its leaves, and were made again: the disk is damaged, or somebody \
                 edited the database"
            );
        }
        Ok(remade)
    }

    /// Which checkpoints in the database are not those of its log, whose tiles are those of its leaves.
    pub(super) async fn void_checkpoints(&self, state: &State) -> Result<VoidCheckpoints, Error> {
        let (keys, reader, leaves) = (log_keys(state), self.reader.clone(), state.leaves);
        let void = crate::blocking(move || {
            let void = |rows: Vec<CheckpointRow>| {
                let mut void = Vec::new();
                for row in rows {
                    let said = said_by(&keys, leaves, Place::Checkpoint(String::new()), &row.note);
                    let ours = match said {
                        Ok(said) => kept_root(&reader, said.size)? == Some(said.root),
                        Err(_refusal) => false,
                    };
                    if !ours {
                        void.push(row.size);
                    }
                }
                Ok::<_, StoreError>(void)
            };
            Ok::<_, StoreError>(VoidCheckpoints {
                signed: void(reader.checkpoints_after(None, u32::MAX)?)?,
                cosigned: void(reader.cosigned_checkpoints_after(None, u32::MAX)?)?,
                shown: void(reader.shown_checkpoint()?.into_iter().collect())?,
            })
        });
        Ok(void.await??)
    }
}

/// The keys that sign the log, and those that did, as the state pins them.
pub(crate) fn log_keys(state: &State) -> Vec<PublicKey> {
    let name = log_key_name();
    let Some(key) = state.keys.iter().find(|key| key.name == name) else { return Vec::new() };
    let versions = state.key_versions.iter().filter(|version| version.key_uid == key.uid);
    let pinned = versions.filter_map(|version| version.spki_der.as_deref());
    pinned.filter_map(|spki| PublicKey::from_spki_der(Algorithm::Ed25519, spki).ok()).collect()
}

/// What a checkpoint says of the log; or what is wrong with it. The log may have had another name when it was signed.
fn said_by(keys: &[PublicKey], leaves: u64, place: Place, note: &str) -> Result<Said, StateRefusal> {
    let named = || match &place {
        Place::Checkpoint(place) | Place::AnchoredCheckpoint(place) => place.clone(),
        Place::Anchor(path) => path.display().to_string(),
    };
    let not_ours = |why: String| StateRefusal::CheckpointNotOurs { place: named(), why };
    let signed = SignedCheckpoint::parse(note.as_bytes()).map_err(|error| not_ours(error.to_string()))?;
    let name = KeyName::parse(signed.unverified().origin());
    let verifier =
        |public| VerifierKey::from_public_key(name.as_ref().ok()?.clone(), SignatureKind::Ed25519, public).ok();
    let verifiers: Vec<VerifierKey> = keys.iter().filter_map(verifier).collect();
    let checkpoint = signed.verify(&verifiers).map_err(|error| not_ours(error.to_string()))?;
    let (size, root) = (checkpoint.size(), *checkpoint.root());
    if size > leaves {
        return Err(StateRefusal::LogBehind { place: named(), size, leaves });
    }
    Ok(Said { place, size, root })
}

/// What the leaves say of the sizes that something was said of; `None` where the tiles say what was said, and that is enough.
/// Where a root differs, the tiles that it was made of are believed no further than the leaves bear them out.
fn hold_to(
    reader: &Reader,
    leaves: u64,
    said: &[Said],
    thoroughness: Thoroughness,
) -> Result<Option<WalkedLeaves>, StoreError> {
    let mut same = thoroughness == Thoroughness::Tiles;
    for one in said {
        same = same && kept_root(reader, one.size)? == Some(one.root);
    }
    if same { Ok(None) } else { walk_leaves(reader, leaves, &sizes(said)).map(Some) }
}

fn sizes(said: &[Said]) -> BTreeSet<u64> {
    said.iter().map(|one| one.size).collect()
}

impl Said {
    fn is_of(&self, walked: &WalkedLeaves) -> bool {
        walked.roots.get(&self.size) == Some(&Some(self.root))
    }
}

/// The largest tree that the log's key has signed, of those that were compared.
fn newest_signed(said: &[Said]) -> Option<TreeHead> {
    let signed = said.iter().filter(|one| !matches!(one.place, Place::Anchor(_)));
    signed.max_by_key(|one| one.size).map(|one| TreeHead { size: one.size, root: one.root })
}

/// What the log is not, of what was said of it.
fn differing(said: Vec<Said>, walked: &WalkedLeaves) -> impl Iterator<Item = StateRefusal> {
    let mut wrong = said;
    wrong.retain(|one| !one.is_of(walked));
    let of_the_anchor = wrong.iter().any(|one| matches!(one.place, Place::Anchor(_)));
    wrong.into_iter().filter_map(move |Said { place, size, .. }| match place {
        Place::AnchoredCheckpoint(_) if of_the_anchor => None,
        Place::Checkpoint(place) | Place::AnchoredCheckpoint(place) => Some(StateRefusal::LogForks { place, size }),
        Place::Anchor(path) => Some(StateRefusal::OtherLog { path, size }),
    })
}

/// The root by the tiles; `None` where they have none.
fn kept_root(reader: &Reader, size: u64) -> Result<Option<Sha256Hash>, StoreError> {
    match kept_tree(reader, size).root() {
        Ok(root) => Ok(Some(root)),
        Err(TileError::Read { source, .. }) => Err(source),
        Err(TileError::Short { .. }) => Ok(None),
    }
}

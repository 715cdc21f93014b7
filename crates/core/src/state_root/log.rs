//! The log is held to what it said of itself: to the newest checkpoint in the database, to the newest that
//! witnesses have cosigned, to the one that was shown last, and to the one in the anchor.

use std::path::Path;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::{Anchor, kept_tree};
use chancery_crypto::PublicKey;
use chancery_model::Algorithm;
use chancery_store::{CheckpointRow, Reader, State, StoreError};

use super::StateKeeper;
use super::refusal::StateRefusal;
use crate::Error;
use crate::checkpoints::log_key_name;

impl StateKeeper {
    /// Compares the log with its checkpoints. The token is not asked.
    pub(super) async fn compare_log(
        &self,
        state: &State,
        anchor: Option<&Anchor>,
        found: &mut Vec<StateRefusal>,
    ) -> Result<(), Error> {
        let keys = log_keys(state);
        // What is wrong with the anchor as such was said.
        let anchored = if found.iter().any(StateRefusal::is_of_the_anchor) { None } else { anchor };
        let anchored = anchored.and_then(|anchor| anchor.checkpoint.clone());
        let (reader, anchor, leaves) = (self.reader.clone(), self.anchor.clone(), state.leaves);
        let compared = crate::blocking(move || {
            let mut found = Vec::new();
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
                    found.extend(compare(&reader, &keys, leaves, place, &note)?);
                }
            }
            if let Some(note) = anchored {
                let place = format!("in the anchor {}", Path::new(&anchor).display());
                found.extend(compare(&reader, &keys, leaves, &place, &note)?);
            }
            Ok::<_, StoreError>(found)
        });
        found.extend(compared.await??);
        Ok(())
    }

    /// From which size on the checkpoints in the database are not those of its log; `None` where the newest one is.
    pub(super) async fn void_checkpoints(&self, state: &State) -> Result<Option<u64>, Error> {
        let (keys, reader, leaves) = (log_keys(state), self.reader.clone(), state.leaves);
        let void = crate::blocking(move || {
            let void = |rows: Vec<CheckpointRow>| {
                let mut void = None;
                for row in rows.iter().rev() {
                    if compare(&reader, &keys, leaves, "", &row.note)?.is_none() {
                        break;
                    }
                    void = Some(row.size);
                }
                Ok::<_, StoreError>(void)
            };
            let signed = void(reader.checkpoints_after(None, u32::MAX)?)?;
            let cosigned = void(reader.cosigned_checkpoints_after(None, u32::MAX)?)?;
            let shown = void(reader.shown_checkpoint()?.into_iter().collect())?;
            Ok::<_, StoreError>(signed.into_iter().chain(cosigned).chain(shown).min())
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

/// What is wrong with a checkpoint, or with the log by it. The log may have had another name when it was signed.
fn compare(
    reader: &Reader,
    keys: &[PublicKey],
    leaves: u64,
    place: &str,
    note: &str,
) -> Result<Option<StateRefusal>, StoreError> {
    let not_ours = |why: String| Ok(Some(StateRefusal::CheckpointNotOurs { place: place.to_owned(), why }));
    let signed = match SignedCheckpoint::parse(note.as_bytes()) {
        Ok(signed) => signed,
        Err(error) => return not_ours(error.to_string()),
    };
    let name = KeyName::parse(signed.unverified().origin());
    let verifier =
        |public| VerifierKey::from_public_key(name.as_ref().ok()?.clone(), SignatureKind::Ed25519, public).ok();
    let verifiers: Vec<VerifierKey> = keys.iter().filter_map(verifier).collect();
    let (size, root) = match signed.verify(&verifiers) {
        Ok(checkpoint) => (checkpoint.size(), *checkpoint.root()),
        Err(error) => return not_ours(error.to_string()),
    };
    if size > leaves {
        return Ok(Some(StateRefusal::LogBehind { place: place.to_owned(), size, leaves }));
    }
    let same = match kept_tree(reader, size).root() {
        Ok(kept) => kept == root,
        Err(chancery_audit::tree::TileError::Read { source, .. }) => return Err(source),
        Err(chancery_audit::tree::TileError::Short { .. }) => false,
    };
    Ok((!same).then(|| StateRefusal::LogForks { place: place.to_owned(), size }))
}

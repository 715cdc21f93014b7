//! Everything that can be found out about a state: by its seal, the token, the log and the anchor.

use std::collections::BTreeSet;

use chancery_audit::{Anchor, StateRoot};
use chancery_model::Sha256Hash;
use chancery_store::{Seal, State};

use super::log::{Thoroughness, WrongTiles};
use super::refusal::{RowFinding, StateRefusal};
use super::rows::{locate, twice};
use super::secret::{Named, named};
use super::{StateKeeper, StateKey, Trouble};

/// What was found out.
pub(super) struct Examined {
    /// The hashes of the rows as they are.
    pub root: StateRoot,
    /// Their root.
    pub hash: Sha256Hash,
    /// The key that the state was sealed with; `None` where it never was, or the secret is not there.
    pub key: Option<StateKey>,
    /// What is wrong. Nothing, and no key: the state was never sealed.
    pub found: Vec<StateRefusal>,
    /// Tiles of the log's tree that are not those of its leaves, as far as it was looked at. That alone is not wrong with the
    /// state: they are made again.
    pub wrong_tiles: WrongTiles,
}

impl StateKeeper {
    /// Looks at all of it. The key is derived on the record.
    pub(super) async fn examine(&self, state: &State, thoroughness: Thoroughness) -> Result<Examined, Trouble> {
        let mut found = Vec::new();
        let (leaves, next_index) = (state.leaves, state.next_index);
        if leaves != next_index {
            found.push(StateRefusal::LogEnd { leaves, next_index });
        }
        let anchor = self.read_anchor(state, &mut found);
        let mut root = StateRoot::of(state.rows());
        let hash = root.root();
        if root.rows() != state.rows().count() {
            found.push(StateRefusal::Twice(twice(state)));
        }
        if next_index < leaves {
            self.name_rows(state, &mut found).await?;
            // What is recorded would have to take a place that is taken, the use of the secret, too.
            return Ok(Examined { root, hash, key: None, found, wrong_tiles: WrongTiles::default() });
        }
        let named = named(state);
        let mut secrets = match (&state.seal, &named) {
            (None, _) => self.secrets(None).await?,
            (Some(_), Some(named)) => self.secrets(Some(named.uid)).await?,
            (Some(_), None) => BTreeSet::new(),
        };
        let mut key = None;
        let anchored = anchor.is_some() || found.iter().any(|one| matches!(one, StateRefusal::AnchorUnreadable { .. }));
        if state.seal.is_none() && !anchored {
            self.destroy_unfinished(state.epoch, &mut secrets).await?;
        }
        match &state.seal {
            // New, or of a version without seals. An empty one can hold nothing that somebody else has put there.
            None if !anchored && (secrets.is_empty() || root.rows() == 0) => {}
            None => found.push(StateRefusal::SealRemoved { secret: !secrets.is_empty(), anchor: anchored }),
            Some(seal) => {
                match named.as_ref().filter(|named| secrets.contains(&named.uid)) {
                    Some(secret) => key = Some(self.derive(state.epoch, secret).await?.0),
                    None => found.push(self.secret_not_there(named.as_ref())),
                }
                self.compare_seal(state, seal, &hash, key.as_ref(), &mut found).await?;
                match &anchor {
                    Some(anchor) => found.extend(self.compare_anchor(state, seal, key.as_ref(), anchor)),
                    None if anchored => {}
                    None => found.push(StateRefusal::AnchorMissing { path: self.anchor.clone() }),
                }
            }
        }
        // Without the key nothing says that the rows are as they were: what the log says of them is all that there is.
        let named_already = found.iter().any(|one| matches!(one, StateRefusal::Rows(_)));
        if key.is_none() && !found.is_empty() && !named_already {
            self.name_rows(state, &mut found).await?;
        }
        let wrong_tiles = if leaves == next_index {
            self.compare_log(state, anchor.as_ref(), thoroughness, &mut found).await?
        } else {
            WrongTiles::default()
        };
        Ok(Examined { root, hash, key, found, wrong_tiles })
    }

    async fn name_rows(&self, state: &State, found: &mut Vec<StateRefusal>) -> Result<(), Trouble> {
        let rows = self.rows_not_as_recorded(state).await?;
        if !rows.is_empty() {
            found.push(StateRefusal::Rows(rows));
        }
        Ok(())
    }

    async fn rows_not_as_recorded(&self, state: &State) -> Result<Vec<RowFinding>, Trouble> {
        let (reader, state) = (self.reader.clone(), state.clone());
        Ok(crate::blocking(move || locate(&reader, &state)).await?.map_err(crate::Error::from)?)
    }

    /// The anchor; where none is there for this database, the one that was announced for exactly this seal, since the
    /// service may have died before it put it in its place.
    fn read_anchor(&self, state: &State, found: &mut Vec<StateRefusal>) -> Option<Anchor> {
        let announced = || {
            let (anchor, seal) = (Anchor::announced(&self.anchor)?, state.seal?);
            let of_this = (anchor.database, anchor.epoch) == (state.database, state.epoch.get());
            (of_this && anchor.root == seal.root && anchor.mac == seal.mac).then_some(anchor)
        };
        match Anchor::read(&self.anchor) {
            Ok(Some(anchor)) if anchor.database == state.database => Some(anchor),
            Ok(anchor) => announced().or(anchor),
            Err(error) => {
                let (path, why) = (self.anchor.clone(), error.to_string());
                found.push(StateRefusal::AnchorUnreadable { path, why });
                None
            }
        }
    }

    fn secret_not_there(&self, named: Option<&Named>) -> StateRefusal {
        let named = named.map_or_else(|| "none".to_owned(), |named| named.uid.to_string());
        StateRefusal::SecretNotThere { token: self.token_id.to_string(), named }
    }

    async fn compare_seal(
        &self,
        state: &State,
        seal: &Seal,
        hash: &Sha256Hash,
        key: Option<&StateKey>,
        found: &mut Vec<StateRefusal>,
    ) -> Result<(), Trouble> {
        let rows_fit = *hash == seal.root;
        let mac_fits = key.is_none_or(|key| key.made(state.database, state.epoch, seal));
        if rows_fit && mac_fits {
            return Ok(());
        }
        // Who edits a row may write its root beside it; the log knows better.
        let rows = self.rows_not_as_recorded(state).await?;
        if !rows_fit || !rows.is_empty() {
            found.push(StateRefusal::Rows(rows));
        }
        if rows_fit && !mac_fits {
            found.push(StateRefusal::Mac { epoch: state.epoch.get() });
        }
        Ok(())
    }

    fn compare_anchor(
        &self,
        state: &State,
        seal: &Seal,
        key: Option<&StateKey>,
        anchor: &Anchor,
    ) -> Option<StateRefusal> {
        let path = self.anchor.clone();
        let Anchor { database, epoch, next_index, log_root: _, root, mac, checkpoint: _ } = *anchor;
        if database != state.database {
            let (anchor, database) = (database.to_string(), state.database.to_string());
            return Some(StateRefusal::OtherDatabase { path, anchor, database });
        }
        if epoch > state.epoch.get() || next_index > state.next_index {
            return Some(StateRefusal::Behind {
                path,
                epoch: state.epoch.get(),
                next_index: state.next_index,
                anchor_epoch: epoch,
                anchor_index: next_index,
            });
        }
        let other = epoch == state.epoch.get() && root != seal.root;
        let foreign =
            key.is_some_and(|key| !key.made(database, chancery_store::Epoch::new(epoch), &Seal { root, mac }));
        (other || foreign).then_some(StateRefusal::Fork { path, epoch })
    }
}

//! The secret in the token that the key of the seal is derived from.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use chancery_audit::{
    Leaf, NewSeal, Outcome, OutcomeItem, OutcomeResult, RecordError, Recorded, RowStatement, Sealer, StateRoot,
    VoidCheckpoints, sealed,
};
use chancery_fail_point::FailPoint;
use chancery_hsm::{DeviceMac, HsmErrorKind, HsmFailure, MacKey, Token};
use chancery_model::{Algorithm, KeyName, KeyState, KeyVersionName, Timestamp, Uid};
use chancery_store::{Epoch, KeyRow, KeyVersionRow, RowChange, Seal, State};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{StateKeeper, Trouble};
use crate::generate::ask_token_for_our_own;
use crate::sweep::{Unfinished, Work};
use crate::system_ring::{SYSTEM_RING, id, own_rows};
use crate::{Error, details};

/// The secret's id in the system ring.
const STATE: &str = "state";
const ALGORITHM: Algorithm = Algorithm::HmacSha256;
/// What is authenticated with it to derive the key. Final: another one, and no seal is known any more.
const KEY_LABEL: &[u8] = b"chancery/state-mac/v1";
/// How long the token may take for each thing that it is asked.
const DEADLINE: Duration = Duration::from_secs(10);
/// The same, where it is asked for all of its secret keys: once in the life of a database.
const LISTING_DEADLINE: Duration = Duration::from_secs(60);

/// The key of the seal. Held in memory and nowhere else.
#[derive(Clone)]
pub(crate) struct StateKey(hmac::Key);

impl StateKey {
    fn new(derived: Vec<u8>) -> Self {
        let derived = Zeroizing::new(derived);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &derived))
    }

    /// What makes seals with it.
    pub fn sealer(&self) -> Sealer {
        let key = self.0.clone();
        Sealer::new(move |bytes| {
            let mut mac = [0; 32];
            mac.copy_from_slice(hmac::sign(&key, bytes).as_ref());
            mac
        })
    }

    /// Whether this is the seal of a database at an epoch, for the root that it names itself.
    pub fn made(&self, database: Uid, epoch: Epoch, seal: &Seal) -> bool {
        let expected = hmac::sign(&self.0, &sealed(database, epoch, &seal.root));
        verify_slices_are_equal(expected.as_ref(), &seal.mac).is_ok()
    }

    /// Whether a state is the one that was sealed.
    pub fn fits(&self, state: &State) -> bool {
        let Some(seal) = &state.seal else { return false };
        let mut root = StateRoot::of(state.rows());
        // Of two rows of one id the hash knows the last.
        let each_once = root.rows() == state.rows().count();
        each_once && self.made(state.database, state.epoch, seal) && root.root() == seal.root
    }
}

/// Why a state is sealed with a new secret.
pub(super) struct Anew<'a> {
    /// For the record.
    pub message: &'a str,
    /// The database's id from now on, where it is another one.
    pub database: Option<Uid>,
    /// Checkpoints in the database that are not the log's.
    pub void_checkpoints: VoidCheckpoints,
    /// The service's own keys that are not in the token, as they are from now on.
    pub lost: Vec<RowChange>,
    /// What rows are that the record says otherwise so far.
    pub statements: Vec<RowStatement>,
}

/// The secret as the database names it.
pub(super) struct Named {
    pub uid: Uid,
    pub version: KeyVersionName,
}

fn secret_name() -> KeyName {
    KeyName { ring: id(SYSTEM_RING), key: id(STATE) }
}

/// Which secret the database names. Nothing is to be done with it before the token says that it is one.
pub(super) fn named(state: &State) -> Option<Named> {
    let name = secret_name();
    let key = state.keys.iter().find(|key| key.name == name)?;
    let number = key.primary_version?;
    let version = state.key_versions.iter().find(|version| version.key_uid == key.uid && version.version == number)?;
    Some(Named { uid: version.uid, version: name.version(number) })
}

impl StateKeeper {
    /// The secrets of the state that the token holds: whether there is this one, or all of them. By their label, which no other key of Chancery's has: a database that
    /// names another key in the secret's place is not believed.
    pub(super) async fn secrets(&self, uid: Option<Uid>) -> Result<BTreeSet<Uid>, Trouble> {
        let deadline = Instant::now() + if uid.is_some() { DEADLINE } else { LISTING_DEADLINE };
        let objects = self.token.list_secrets(uid.map(Into::into), deadline).await.map_err(Trouble::Away)?;
        let ours = |label: &str| label.strip_prefix(label_prefix().as_str()).is_some();
        let secrets = objects.iter().filter(|object| ours(&object.label));
        Ok(secrets.filter_map(|object| Uid::try_from(object.id.as_slice()).ok()).collect())
    }

    /// Derives the key, on the record. Says the epoch afterwards.
    pub(super) async fn derive(&self, epoch: Epoch, secret: &Named) -> Result<(StateKey, Epoch), Trouble> {
        let act = details::own_state_key(&secret.version, secret.uid);
        // The epoch stays: where the token does not answer, what was begun is closed at the epoch that it was begun at.
        let changed = self.log.note(epoch, act).await?;
        let key = MacKey { id: secret.uid.into(), algorithm: ALGORITHM };
        let derived = derive(changed.recorded, &self.token, &key).await.map_err(Trouble::Away)?;
        Ok((StateKey::new(derived.bytes), changed.epoch))
    }

    /// Makes a secret and seals the state with it, whatever it was held to before. `root` is that of the state, as it was
    /// looked at: it is not loaded again.
    pub(super) async fn seal_with_a_new_secret(
        &self,
        state: &State,
        root: StateRoot,
        anew: Anew<'_>,
    ) -> Result<StateKey, Trouble> {
        let Anew { message, database, void_checkpoints, lost, mut statements } = anew;
        self.token.offers(ALGORITHM).map_err(Error::from)?;
        let (mut key, mut version) = new_rows(state)?;
        let name = key.name.version(version.version);
        let act = details::state_secret(&name, ALGORITHM, version.uid, message);
        let changed = self.log.change(state.epoch, Vec::new(), act).await?;
        let act = changed.recorded.index();
        let wanted =
            Unfinished { act, uid: version.uid, version: name.clone(), algorithm: ALGORITHM, work: Work::Generation };
        if let Err(failure) = ask_token_for_our_own(changed.recorded, &self.token, &wanted).await {
            self.take_back(changed.epoch, &wanted, &failure).await?;
            return Err(Trouble::Away(failure));
        }
        FailPoint::StateSecretMade.pass();
        let (derived, epoch) = match self.derive(changed.epoch, &Named { uid: version.uid, version: name }).await {
            Ok(derived) => derived,
            Err(Trouble::Away(failure)) => {
                self.take_back(changed.epoch, &wanted, &failure).await?;
                return Err(Trouble::Away(failure));
            }
            Err(trouble) => return Err(trouble),
        };
        let now = Timestamp::now();
        version.state = KeyState::Active;
        version.generated = Some(now);
        version.state_changed = now;
        key.primary_version = Some(version.version);
        let item = OutcomeItem { intent: act, result: OutcomeResult::Done, signature_sha256: None };
        let details = details::state_sealed(act, &wanted.version, message);
        let outcome = Outcome { time: now, items: vec![item], details };
        let mut rows = lost;
        rows.extend([RowChange::PutKey(key), RowChange::PutKeyVersion(version)]);
        let new = NewSeal { root, sealer: derived.sealer(), database, void_checkpoints };
        // What the record says of these is what is written.
        let written = |one: &RowStatement| rows.iter().any(|row| (row.table(), row.row_id()) == (one.table, one.id));
        statements.retain(|one| !written(one));
        match self.log.seal_first(epoch, new, rows, &statements, outcome).await {
            Ok(_) => Ok(derived),
            // Nothing was written. Of a log that is closed nobody knows: the next start finds out.
            Err(error @ (RecordError::StaleEpoch | RecordError::Anchor { .. })) => {
                let failure = HsmFailure {
                    kind: HsmErrorKind::OutcomeUnknown,
                    function: None,
                    return_code: None,
                    attempts: 1,
                    message: error.to_string(),
                };
                self.take_back(epoch, &wanted, &failure).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Destroys secrets whose making this instance recorded, and that sealed nothing: the service stopped in between. Only
    /// where there is neither seal nor anchor: the list of what is open is not held to the seal, and may say anything.
    pub(super) async fn destroy_unfinished(&self, epoch: Epoch, secrets: &mut BTreeSet<Uid>) -> Result<(), Trouble> {
        if secrets.is_empty() {
            return Ok(());
        }
        let (reader, instance) = (self.reader.clone(), self.log.instance().clone());
        let open = crate::blocking(move || reader.open_intents(&instance)).await?.map_err(Error::from)?;
        for intent in open.iter().filter(|intent| intent.act) {
            let Ok(leaf) = Leaf::decode(&intent.leaf) else { continue };
            let uid = leaf.resource();
            if leaf.action().is_some() || !secrets.contains(&uid) {
                continue;
            }
            tracing::warn!(%uid, record = intent.index, "a secret of the state that sealed nothing is destroyed");
            self.token.destroy(uid.into(), Instant::now() + DEADLINE).await.map_err(Trouble::Away)?;
            secrets.remove(&uid);
            let item = OutcomeItem { intent: intent.index, result: OutcomeResult::Failed, signature_sha256: None };
            let outcome = Outcome {
                time: Timestamp::now(),
                items: vec![item],
                details: details::secret_unfinished(intent.index),
            };
            self.log.complete(epoch, Vec::new(), outcome).await?;
        }
        Ok(())
    }

    /// A secret that was not made, or of which nobody knows: whatever there is of it goes, since a secret that sealed nothing
    /// would look like one whose seal was removed.
    async fn take_back(&self, epoch: Epoch, wanted: &Unfinished, failure: &HsmFailure) -> Result<(), Trouble> {
        if failure.attempts > 0
            && let Err(left) = self.token.destroy(wanted.uid.into(), Instant::now() + DEADLINE).await
        {
            tracing::error!(version = %wanted.version, uid = %wanted.uid, %left,
                "a secret of the state may be left in the token, and sealed nothing");
        }
        let item = OutcomeItem { intent: wanted.act, result: OutcomeResult::Failed, signature_sha256: None };
        let details =
            details::generation_end(wanted.act, wanted.version.to_string(), OutcomeResult::Failed, Err(failure));
        let outcome = Outcome { time: Timestamp::now(), items: vec![item], details };
        self.log.complete(epoch, Vec::new(), outcome).await?;
        Ok(())
    }
}

/// How the labels of all versions of the secret begin.
fn label_prefix() -> String {
    format!("chancery:{SYSTEM_RING}/{STATE}/")
}

/// The rows of a secret that is not made yet: a new key, or another version of the one that there is.
fn new_rows(state: &State) -> Result<(KeyRow, KeyVersionRow), Error> {
    let name = secret_name();
    let key = state.keys.iter().find(|key| key.name == name).cloned();
    let mine = |version: &&KeyVersionRow| key.as_ref().is_some_and(|key| key.uid == version.key_uid);
    let last = state.key_versions.iter().filter(mine).map(|version| version.version).max();
    own_rows(key, &name, ALGORITHM, last)
}

/// The only place where the secret is used. It takes the recorded act by value.
async fn derive(_recorded: Recorded, token: &Token, key: &MacKey) -> Result<DeviceMac, HsmFailure> {
    token.mac(key, KEY_LABEL, Instant::now() + DEADLINE).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_secret_is_known_by_the_label_that_it_is_made_with() {
        let label = crate::generate::object_label(&secret_name().version(3));
        assert_eq!(label.strip_prefix(&label_prefix()), Some("3"));
    }

    #[test]
    fn a_seal_is_of_one_database_epoch_and_root() {
        let key = StateKey::new(vec![7; 32]);
        let (database, epoch) = (Uid::from_bytes([1; 16]), Epoch::new(4));
        let seal = Seal { root: [2; 32], mac: mac(&key, database, epoch, [2; 32]) };
        assert!(key.made(database, epoch, &seal));
        assert!(!key.made(Uid::NONE, epoch, &seal) && !key.made(database, Epoch::new(5), &seal));
        assert!(!key.made(database, epoch, &Seal { root: [3; 32], ..seal }));
        assert!(!StateKey::new(vec![8; 32]).made(database, epoch, &seal));
    }

    #[test]
    fn a_row_that_is_there_twice_is_not_the_one_that_was_sealed() {
        let key = StateKey::new(vec![7; 32]);
        let empty = State {
            epoch: Epoch::new(4),
            database: Uid::from_bytes([1; 16]),
            seal: None,
            next_index: 0,
            leaves: 0,
            keys: Vec::new(),
            key_versions: Vec::new(),
            key_rings: Vec::new(),
            callers: Vec::new(),
            api_keys: Vec::new(),
            api_key_uses: BTreeMap::new(),
            policy_set: None,
            earlier_policy_sets: Vec::new(),
        };
        let (row, _) = new_rows(&empty).unwrap();
        let edited = KeyRow { allow_digest: true, ..row.clone() };
        let mut state = State { keys: vec![row.clone()], ..empty };
        let root = StateRoot::of(state.rows()).root();
        state.seal = Some(Seal { root, mac: mac(&key, state.database, state.epoch, root) });
        assert!(key.fits(&state));
        state.keys = vec![edited, row];
        assert_eq!(StateRoot::of(state.rows()).root(), root, "the hash alone does not tell");
        assert!(!key.fits(&state));
        let [found] = &super::super::rows::twice(&state)[..] else { panic!("one row") };
        assert!(found.to_string().contains("keyRings/system/keys/state is there more than once"), "{found}");
    }

    fn mac(key: &StateKey, database: Uid, epoch: Epoch, root: [u8; 32]) -> [u8; 32] {
        hmac::sign(&key.0, &sealed(database, epoch, &root)).as_ref().try_into().unwrap()
    }
}

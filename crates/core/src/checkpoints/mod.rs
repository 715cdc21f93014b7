//! Checkpoints: what the log says of itself, signed in the token by a key that signs nothing else
//! (docs/transparency-log.md).
//!
//! The key is made in the system ring, on the record. Its signatures are not recorded one by one: a record of a checkpoint
//! would want another checkpoint. They are public, and the newest are kept. No caller and no policy leads to the function
//! that signs: it takes a value that only this module can make. While the token is away checkpoints wait, and signing goes
//! on; health and metrics say how far the newest one reaches.
//!
//! Where witnesses are required, a checkpoint counts once so many of them have cosigned it (`witnesses`). What has counted is
//! shown until a larger one counts, whatever the settings are by then: whoever has kept it would see a shorter log.

mod conflicts;
mod covering;
mod kept;
mod log_keys;
mod served;
mod standing;
mod witnesses;

pub(crate) use covering::Uncovered;
pub(crate) use kept::KeptForStart;
pub use log_keys::LogKey;
pub use served::kept_log_keys;
pub use standing::{CheckpointStanding, CheckpointTrouble, NewestCheckpoint, WitnessStanding, WitnessTrouble};

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::note::{self, SignError, SignatureKind, VerifierKey};
use chancery_audit::witness::WitnessPolicy;
use chancery_hsm::{HsmErrorKind, HsmFailure, SignInput, SigningKey, Token};
use chancery_model::{Action, Algorithm, KeyName, Timestamp};
use chancery_witness::Witness;
use kept::Kept;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::state::{Snapshot, VersionEntry};
use crate::system_ring::{SYSTEM_RING, id};
use crate::{Chancery, Error};

/// The key's id in the system ring.
const LOG: &str = "log";
const ALGORITHM: Algorithm = Algorithm::Ed25519;
/// How long the token may take to sign one.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a shutdown waits for the last one.
const LAST_DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait before the token is asked again, after it did not sign.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How the log is signed.
#[derive(Debug, Clone)]
pub struct CheckpointSettings {
    /// The log's name, by which its key signs.
    pub origin: note::KeyName,
    /// How often, while records come.
    pub interval: Duration,
    /// Who is asked to cosign.
    pub witnesses: Vec<Arc<Witness>>,
    /// How many of them have to, before a checkpoint counts.
    pub required: usize,
}

/// Who signs checkpoints, and the newest.
pub(crate) struct Checkpoints {
    settings: CheckpointSettings,
    /// By the witnesses of the settings.
    policy: WitnessPolicy,
    standing: watch::Sender<CheckpointStanding>,
    /// How many records those who wait want to be covered.
    wanted: watch::Sender<u64>,
    /// Held while one is signed.
    signing: Mutex<()>,
}

impl Checkpoints {
    /// Goes on from what the store has kept. What ever counted is shown until a larger one counts by these settings.
    pub fn new(settings: CheckpointSettings, kept: KeptForStart) -> Result<Self, Error> {
        let keys: Vec<VerifierKey> = settings.witnesses.iter().map(|witness| witness.key().clone()).collect();
        let names = keys.iter().map(|key| key.name().clone());
        let witnesses = names.map(|name| WitnessStanding { name, trouble: None }).collect();
        let policy = WitnessPolicy::new(keys, settings.required);
        let policy = policy.map_err(|error| Error::internal(format!("the log's witnesses: {error}")))?;
        let Kept { newest, cosigned, shown } = kept.parsed();
        let mut standing = CheckpointStanding { witnesses, required: settings.required, ..Default::default() };
        let counts = |one: &&Arc<NewestCheckpoint>| counts(&settings, &policy, one);
        [&newest, &cosigned, &shown].into_iter().flatten().filter(counts).for_each(|one| standing.count(one));
        if let Some(shown) = shown.filter(|shown| shown.origin() == settings.origin.as_str()) {
            standing.show_still(shown);
        }
        standing.newest = newest;
        let (standing, wanted) = (watch::Sender::new(standing), watch::Sender::new(0));
        Ok(Self { settings, policy, standing, wanted, signing: Mutex::new(()) })
    }

    /// Whether enough of the witnesses have cosigned a checkpoint of this log.
    fn counts(&self, checkpoint: &NewestCheckpoint) -> bool {
        counts(&self.settings, &self.policy, checkpoint)
    }

    pub fn standing(&self) -> &watch::Sender<CheckpointStanding> {
        &self.standing
    }

    fn newest(&self) -> Option<Arc<NewestCheckpoint>> {
        self.standing.borrow().newest.clone()
    }
}

fn counts(settings: &CheckpointSettings, policy: &WitnessPolicy, checkpoint: &NewestCheckpoint) -> bool {
    checkpoint.origin() == settings.origin.as_str() && policy.check(&checkpoint.checkpoint).is_ok()
}

/// The name of the key that signs the log.
pub(crate) fn log_key_name() -> KeyName {
    KeyName { ring: id(SYSTEM_RING), key: id(LOG) }
}

/// The text of a checkpoint, to be signed. Made here and nowhere else.
struct Unsigned(Vec<u8>);

impl Chancery {
    /// At the start, and once the state is checked: makes the key where there is none, and signs from now on. Where the key
    /// cannot be made yet, it is tried again.
    pub(crate) async fn keep_checkpoints(&self) {
        let Some(checkpoints) = &self.inner.checkpoints else { return };
        match self.make_log_key_if_needed().await {
            // Witnesses want to be told before anything can count.
            Ok(key) => {
                let key = key.signs_with().ok().and_then(|public| {
                    let origin = checkpoints.settings.origin.clone();
                    VerifierKey::from_public_key(origin, SignatureKind::Ed25519, public).ok()
                });
                if let Some(key) = key {
                    tracing::info!(verifier_key = %key, "the log is signed by this key");
                }
            }
            Err(error) => checkpoints.failed(&error),
        }
        let before = checkpoints.newest().filter(|newest| newest.origin() != checkpoints.settings.origin.as_str());
        if let Some(before) = before {
            tracing::warn!(
                before = before.origin(),
                now = checkpoints.settings.origin.as_str(),
                "the log has another name from now on, and is another log to whoever checks it: its verifier key is the one named \
                 above, earlier checkpoints and receipts need the earlier one, too, and its witnesses have to be told"
            );
        }
        self.keep_cosignatures();
        let interval = checkpoints.settings.interval;
        let mut wanted = checkpoints.wanted.subscribe();
        // Somebody may have asked before there was anybody to listen.
        wanted.mark_changed();
        let inner = Arc::downgrade(&self.inner);
        let mut next_index = self.inner.log.next_index();
        tokio::spawn(async move {
            let (mut wait, mut soonest) = (interval, Instant::now());
            let mut signed_until = 0;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = covering::wanted_beyond(&mut wanted, signed_until, soonest) => {}
                }
                let Some(inner) = inner.upgrade() else { return };
                let signed = (Self { inner }).sign_checkpoint().await;
                let covered = match signed {
                    Ok(covered) => covered,
                    Err(Error::RecordClosed { .. }) => return,
                    Err(_) => {
                        wait = (wait * 2).clamp(interval, LONGEST_WAIT.max(interval));
                        soonest = Instant::now() + covering::AFTER_FAILURE;
                        continue;
                    }
                };
                (wait, soonest, signed_until) = (interval, Instant::now() + covering::APART, covered);
                if next_index.wait_for(|next| *next > covered).await.is_err() {
                    return;
                }
            }
        });
    }

    /// The last one, before the record is closed: so that it covers what was recorded until then.
    pub(crate) async fn sign_last_checkpoint(&self) {
        let Some(checkpoints) = &self.inner.checkpoints else { return };
        // Nobody knows yet whether the key that the state names is the log's.
        if !self.inner.standing.borrow().decides() {
            return;
        }
        let ring = self.inner.system_ring.as_ref();
        let serves =
            ring.and_then(|ring| self.token_of(ring).ok()).is_some_and(|token| token.status().health.state.serves());
        if !serves || self.log_key().is_none() {
            return;
        }
        if tokio::time::timeout(LAST_DEADLINE, self.sign_checkpoint()).await.is_err() {
            let covered = checkpoints.newest().map(|newest| newest.size());
            tracing::warn!(covered, "the last records are under no checkpoint yet: the token did not sign in time");
        }
    }

    /// Signs the log as it stands, unless the newest checkpoint says it already. How many leaves it has.
    async fn sign_checkpoint(&self) -> Result<u64, Error> {
        let Some(checkpoints) = &self.inner.checkpoints else { return Ok(0) };
        let _one_at_a_time = checkpoints.signing.lock().await;
        let signed = self.try_to_sign(checkpoints).await;
        match &signed {
            Ok(_) => checkpoints.succeeded(),
            Err(error) => checkpoints.failed(error),
        }
        signed
    }

    async fn try_to_sign(&self, checkpoints: &Checkpoints) -> Result<u64, Error> {
        let key = self.make_log_key_if_needed().await?;
        let origin = &checkpoints.settings.origin;
        let head = self.inner.log.tree_head().await?.ok_or(Error::LogGap)?;
        let newest = checkpoints.newest();
        if newest.is_some_and(|newest| newest.size() == head.size && newest.origin() == origin.as_str()) {
            return Ok(head.size);
        }
        let ring = self.inner.system_ring.as_ref().ok_or(Error::NoSystemRing)?;
        let token = self.token_of(ring)?;
        let public = key.signs_with()?.clone();
        let broken = |what: String| Error::internal(format!("a checkpoint cannot be made: {what}"));
        let verifier = VerifierKey::from_public_key(origin.clone(), SignatureKind::Ed25519, &public);
        let verifier = verifier.map_err(|error| broken(error.to_string()))?;
        let key = SigningKey { id: key.object_id(), public };
        let unsigned = SignedCheckpoint::unsigned(Checkpoint::new(origin, head.size, head.root));
        let mut checkpoint = unsigned.map_err(|error| broken(error.to_string()))?;
        let signer = |text| ask_token(Unsigned(text), token, &key);
        checkpoint.note_mut().sign(&verifier, signer).await.map_err(|error| match error {
            SignError::Signer(failure) => Error::Device { operation: Action::Sign, token: ring.token.clone(), failure },
            error @ (SignError::Invalid(_) | SignError::Kind(_) | SignError::Full) => broken(error.to_string()),
        })?;
        let signed = Timestamp::now();
        let newest = NewestCheckpoint { checkpoint, signed };
        let counts = checkpoints.counts(&newest);
        self.inner.log.keep_checkpoint(&newest.checkpoint, signed, counts).await?;
        checkpoints.standing.send_modify(|standing| {
            if counts {
                standing.count(&newest);
            }
            standing.newest = Some(Arc::new(newest));
        });
        Ok(head.size)
    }

    /// The version of the key that signs; none where it was not made yet.
    fn log_key(&self) -> Option<Arc<VersionEntry>> {
        self.snapshot().log_key()
    }

    async fn make_log_key_if_needed(&self) -> Result<Arc<VersionEntry>, Error> {
        if let Some(key) = self.log_key() {
            return Ok(key);
        }
        let ring = self.inner.system_ring.as_ref().ok_or(Error::NoSystemRing)?;
        let token = self.token_of(ring)?;
        // What would not reach the token is not recorded as if it did.
        let failed = |failure| Error::Device { operation: Action::CreateKey, token: ring.token.clone(), failure };
        token.check_taking_calls().map_err(failed)?;
        self.own_key(&log_key_name(), ALGORITHM, token, |_| Ok(())).await
    }
}

impl Snapshot {
    fn log_key(&self) -> Option<Arc<VersionEntry>> {
        self.keys.get(&log_key_name())?.primary().map(Arc::clone)
    }
}

/// The only place where the log's key is used. What it signs is made in this module alone.
async fn ask_token(unsigned: Unsigned, token: &Token, key: &SigningKey) -> Result<[u8; 64], HsmFailure> {
    let signature = token.sign(key, SignInput::Message(&unsigned.0), Instant::now() + DEADLINE).await?;
    signature.bytes.as_slice().try_into().map_err(|_length| HsmFailure {
        kind: HsmErrorKind::WrongSignature,
        function: Some("C_Sign"),
        return_code: None,
        attempts: 1,
        message: format!("an Ed25519 signature of {} bytes", signature.bytes.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_one_of_the_system_ring() {
        assert_eq!(log_key_name().to_string(), "keyRings/system/keys/log");
    }
}

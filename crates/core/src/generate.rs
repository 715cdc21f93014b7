//! Making a key pair, or a secret, in the token: reserved and recorded first, then generated, then completed.
//!
//! The CKA_ID is chosen and durable before the token is asked, so that a crash at any point leaves nothing that the
//! sweep at the next start could not find (see `sweep`).

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::{Outcome, OutcomeItem, OutcomeResult, RecordError, Recorded};
use chancery_crypto::PublicKey;
use chancery_fail_point::FailPoint;
use chancery_hsm::{GeneratedKey, HsmErrorKind, HsmFailure, Token};
use chancery_model::{Action, Algorithm, KeyPurpose, KeyState, KeyVersionName, Timestamp, Uid, VersionLife};
use chancery_policy::Permit;
use chancery_store::{KeyRow, KeyVersionRow, RowChange};
use tokio::time::Instant;

use crate::change::ATTEMPTS;
use crate::details;
use crate::inflight::Ticket;
use crate::rotation::taken_over;
use crate::schedule::ByRule;
use crate::state::{Snapshot, VersionEntry};
use crate::sweep::{Unfinished, Work};
use crate::{Chancery, Error};

/// How long a token may take to make a key pair; RSA-4096 takes a device seconds, and a caller who does not wait so long
/// finds the key made.
const GENERATION_DEADLINE: Duration = Duration::from_secs(120);

/// What allows a key to be made: policy, which was asked, or a rule of the key, which was permitted when it was laid down.
pub(crate) enum Warrant {
    Permit(Box<Permit>),
    Rule(ByRule),
}

impl Warrant {
    /// The method of the API that stands for it.
    fn action(&self) -> Action {
        match self {
            Self::Permit(permit) => permit.action(),
            Self::Rule(_) => Action::RotateKey,
        }
    }
}

/// A reserved version whose key pair is to be made, and what allows it.
pub(crate) struct Generation {
    warrant: Warrant,
    uid: Uid,
    version: KeyVersionName,
    algorithm: Algorithm,
    token: Token,
    /// A freeze of its ring waits for it.
    place: Ticket,
}

impl Generation {
    pub fn new(
        warrant: Warrant,
        row: &KeyVersionRow,
        version: KeyVersionName,
        algorithm: Algorithm,
        token: Token,
        place: Ticket,
    ) -> Self {
        Self { warrant, uid: row.uid, version, algorithm, token, place }
    }
}

impl Chancery {
    /// Makes the key pair of a recorded reservation, and completes the version, or takes the reservation back.
    pub(crate) async fn finish_generation(
        &self,
        recorded: Recorded,
        generation: Generation,
    ) -> Result<Arc<VersionEntry>, Error> {
        let Generation { warrant, uid, version, algorithm, token, place } = generation;
        place.recorded_as(recorded.index());
        tracing::debug!(%version, "a key pair is being made");
        let (act, operation) = (recorded.index(), warrant.action());
        let unfinished = Unfinished { act, uid, version, algorithm, work: Work::Generation };
        let end = ask_token(warrant, recorded, &token, &unfinished).await;
        self.close_generation(unfinished, end, operation, &token).await
    }

    /// Makes a secret of the service's own, whose reservation is recorded. Policy is not asked: it is about callers, and no
    /// caller reaches the system ring.
    pub(crate) async fn finish_own_generation(
        &self,
        recorded: Recorded,
        unfinished: Unfinished,
        token: &Token,
    ) -> Result<Arc<VersionEntry>, Error> {
        let end = ask_token_for_our_own(recorded, token, &unfinished).await;
        self.close_generation(unfinished, end, Action::CreateKey, token).await
    }

    async fn close_generation(
        &self,
        unfinished: Unfinished,
        end: Result<GeneratedKey, HsmFailure>,
        operation: Action,
        token: &Token,
    ) -> Result<Arc<VersionEntry>, Error> {
        let version = unfinished.version.clone();
        match end.and_then(|generated| pin(&unfinished, &generated)) {
            Ok(made) => {
                self.complete_or_settle(unfinished, Ok(&made)).await?;
                let snapshot = self.snapshot();
                let made = snapshot.keys.get(&version.key).and_then(|key| key.versions.get(&version.version));
                made.map(Arc::clone).ok_or_else(|| Error::NotFound { name: version.to_string() })
            }
            Err(failure) => {
                if may_have_left_something(&failure) {
                    tracing::warn!(%version, %failure,
                        "whether the key pair was made is not known; the token is asked what it holds");
                    self.settle(unfinished).await;
                } else {
                    self.complete_or_settle(unfinished, Err(&failure)).await?;
                }
                Err(Error::Device { operation, token: token.status().id, failure })
            }
        }
    }

    /// Closes a reservation; where that cannot be done now, it is done as soon as it can.
    pub(crate) async fn complete_or_settle(
        &self,
        unfinished: Unfinished,
        end: Result<&Made, &HsmFailure>,
    ) -> Result<(), Error> {
        let completed = self.complete(unfinished.act, unfinished.uid, end).await;
        if completed.is_err() {
            self.settle(unfinished).await;
        }
        completed
    }

    /// Closes a reservation: the version becomes ACTIVE and primary, or PRE_ACTIVE where it is to be published first, or it
    /// is deleted (with its key where it was the first one). Row, epoch and outcome are one transaction.
    pub(crate) async fn complete(&self, act: u64, version: Uid, end: Result<&Made, &HsmFailure>) -> Result<(), Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            let reserved = find(&snapshot, version)?;
            let resource = reserved.key.name.version(reserved.version.version).to_string();
            let result = match end {
                Ok(_) => OutcomeResult::Done,
                // The key is in the token as it was before; whether it has made a signature may be unknown, as of any use.
                Err(failure) if reserved.version.adoption.is_some() => details::result_of(failure),
                Err(_) => OutcomeResult::Failed,
            };
            let rows = match end {
                Ok(made) => completion(reserved, made, self.inner.clock.now()),
                Err(_) => withdrawal(reserved),
            };
            let item = OutcomeItem { intent: act, result, signature_sha256: None };
            let details = details::generation_end(act, resource, result, end);
            let outcome = Outcome { time: Timestamp::now(), items: vec![item], details };
            match self.inner.log.complete(snapshot.epoch, rows.clone(), outcome).await {
                Ok(changed) => {
                    FailPoint::KeyCompleted.pass();
                    self.install(snapshot.after(changed.epoch, &rows)?);
                    return Ok(());
                }
                Err(RecordError::StaleEpoch) => self.reload().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::StateChanging)
    }
}

/// The only place where a token is asked for a key of callers. It takes what allows it and the recorded act by value. Never
/// retried: a second try could leave two pairs.
async fn ask_token(
    _warrant: Warrant,
    _recorded: Recorded,
    token: &Token,
    wanted: &Unfinished,
) -> Result<GeneratedKey, HsmFailure> {
    let deadline = Instant::now() + GENERATION_DEADLINE;
    FailPoint::KeyReserved.pass();
    let generated = token.generate(wanted.uid, &object_label(&wanted.version), wanted.algorithm, deadline).await;
    FailPoint::KeyGenerated.pass();
    generated
}

/// The same for a secret of the service's own.
pub(crate) async fn ask_token_for_our_own(
    _recorded: Recorded,
    token: &Token,
    wanted: &Unfinished,
) -> Result<GeneratedKey, HsmFailure> {
    let deadline = Instant::now() + GENERATION_DEADLINE;
    token.generate(wanted.uid, &object_label(&wanted.version), wanted.algorithm, deadline).await
}

/// CKA_LABEL of both objects; for people with the module's own tools. Chancery finds keys by CKA_ID.
pub(crate) fn object_label(version: &KeyVersionName) -> String {
    format!("chancery:{}/{}/{}", version.key.ring, version.key.key, version.version)
}

/// What a token made.
pub(crate) enum Made {
    /// A key pair with this public half.
    Pair(PublicKey),
    /// A secret, which shows nothing of itself.
    Secret,
}

impl Made {
    /// Pins the public key that the token gave of a pair.
    pub fn of(algorithm: Algorithm, generated: &GeneratedKey) -> Result<Self, String> {
        match (algorithm.purpose(), &generated.spki_der) {
            (KeyPurpose::Signature, Some(spki)) => {
                PublicKey::from_spki_der(algorithm, spki).map(Self::Pair).map_err(|error| error.to_string())
            }
            (KeyPurpose::Signature, None) => Err("the token shows none".to_owned()),
            (KeyPurpose::Mac, None) => Ok(Self::Secret),
            (KeyPurpose::Mac, Some(_)) => Err("a secret has none".to_owned()),
        }
    }

    /// The public half of a pair.
    pub const fn public(&self) -> Option<&PublicKey> {
        match self {
            Self::Pair(public) => Some(public),
            Self::Secret => None,
        }
    }
}

fn pin(wanted: &Unfinished, generated: &GeneratedKey) -> Result<Made, HsmFailure> {
    Made::of(wanted.algorithm, generated).map_err(|error| HsmFailure {
        kind: HsmErrorKind::OutcomeUnknown,
        function: Some("C_GetAttributeValue"),
        return_code: None,
        attempts: 1,
        message: format!("the token's public key is not one of {}: {error}", wanted.algorithm),
    })
}

/// Whether the token may hold a key pair, or half of one, although the call failed. Once it was asked to make one, no
/// return code proves that it did not.
fn may_have_left_something(failure: &HsmFailure) -> bool {
    if failure.attempts == 0 {
        // It was not asked: it is away, or has too much to do.
        return false;
    }
    if matches!(failure.function, Some("C_GenerateKeyPair" | "C_GenerateKey")) {
        return true;
    }
    match failure.kind {
        HsmErrorKind::OutcomeUnknown
        | HsmErrorKind::WorkerLost
        | HsmErrorKind::Deadline
        | HsmErrorKind::Session
        | HsmErrorKind::LoginLost
        | HsmErrorKind::TokenAbsent
        | HsmErrorKind::Module
        | HsmErrorKind::Memory
        | HsmErrorKind::Bug
        | HsmErrorKind::KeyNotFound
        | HsmErrorKind::KeyAmbiguous
        | HsmErrorKind::WrongSignature => true,
        HsmErrorKind::PinLatched
        | HsmErrorKind::Capacity
        | HsmErrorKind::Overloaded
        | HsmErrorKind::Configuration
        | HsmErrorKind::InputLength
        | HsmErrorKind::Stopping => false,
    }
}

/// A reserved version, its key, and how many versions that has.
struct Reserved {
    key: KeyRow,
    version: KeyVersionRow,
    versions: usize,
}

fn find(snapshot: &Snapshot, version: Uid) -> Result<Reserved, Error> {
    let reserved = snapshot.keys.values().find_map(|key| {
        let entry = key.versions.values().find(|entry| entry.uid == version)?;
        Some(Reserved { key: key.to_row(), version: entry.to_row(), versions: key.versions.len() })
    });
    reserved.ok_or_else(|| Error::internal(format!("the reserved version {version} is gone")))
}

/// The row of a version that is to be made.
pub(crate) fn to_be_made(key: Uid, number: u32, now: Timestamp) -> Result<KeyVersionRow, Error> {
    Ok(KeyVersionRow {
        uid: chancery_crypto::new_uid()?,
        key_uid: key,
        version: number,
        state: KeyState::PendingGeneration,
        spki_der: None,
        created: now,
        generated: None,
        state_changed: now,
        life: VersionLife::default(),
        adoption: None,
        request_id: None,
    })
}

fn completion(reserved: Reserved, made: &Made, now: Timestamp) -> Vec<RowChange> {
    let waits = reserved.version.life.activation.is_some();
    let version = KeyVersionRow {
        state: if waits { KeyState::PreActive } else { KeyState::Active },
        spki_der: made.public().map(|public| public.spki_der().to_vec()),
        generated: Some(now),
        state_changed: now,
        ..reserved.version
    };
    if waits {
        return vec![RowChange::PutKeyVersion(version)];
    }
    let key = if reserved.versions == 1 {
        KeyRow { primary_version: Some(version.version), updated: now, ..reserved.key }
    } else {
        taken_over(reserved.key, version.version, now)
    };
    vec![RowChange::PutKeyVersion(version), RowChange::PutKey(key)]
}

fn withdrawal(reserved: Reserved) -> Vec<RowChange> {
    let mut rows = vec![RowChange::DeleteKeyVersion(reserved.version.uid)];
    if reserved.versions == 1 {
        rows.push(RowChange::DeleteKey(reserved.key.uid));
    }
    rows
}

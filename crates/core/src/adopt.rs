//! Adopting: a key that others have put into a token comes under management, as the first version of a new key.
//!
//! The token is asked what it holds only once policy has allowed it; that is reading. The key's first use, a signature that
//! proves that it fits its public key, is recorded before it is made. Until it has proved itself the version is reserved, as
//! one is that is being made. Whatever happens in between, nothing in the token is changed, and the reservation is taken back.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::Recorded;
use chancery_hsm::{FindKeyError, FoundKey, GeneratedKey, HsmErrorKind, HsmFailure, ObjectQuery, Token, Unadoptable};
use chancery_model::{Action, Adoption, Algorithm, Id, KeyState, KeyVersionName, TokenObjectId, Uid};
use chancery_policy::{OperationContext, Permit};
use chancery_store::RowChange;
use tokio::time::Instant;

use crate::change::{Done, Plan};
use crate::destruction::is_begun;
use crate::generate::Made;
use crate::inflight::Ticket;
use crate::keys::Reservation;
use crate::rings::Ring;
use crate::state::{Snapshot, VersionEntry};
use crate::sweep::{Unfinished, Work};
use crate::usage::KeyView;
use crate::{Chancery, CreateKey, Error, Requester, details};

/// How long the token may take to find the key, and again to let it prove itself.
const DEADLINE: Duration = Duration::from_secs(30);

/// Length of the longest CKA_LABEL that is asked for, in bytes.
const MOST_LABEL_BYTES: usize = 256;

/// Which key is to be adopted, and what it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptKey {
    /// The key, as if it were to be made.
    pub key: CreateKey,
    /// Which one of the token it is.
    pub object: ObjectQuery,
}

/// A version whose adoption is recorded, and what allows it to be used for the proof.
struct Adopting {
    permit: Permit,
    uid: Uid,
    version: KeyVersionName,
    algorithm: Algorithm,
    /// A freeze or a suspension that comes now waits for the proof.
    place: Ticket,
}

impl Chancery {
    /// Brings a key that is in the ring's token already under management, as version 1 of a new key.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] on the ring; those of [`Chancery::create_key`]; [`Error::NotAdoptable`],
    /// [`Error::KeyExtractable`] and [`Error::ObjectTaken`].
    pub async fn adopt_key(&self, from: &Requester, request: AdoptKey) -> Result<KeyView, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let version = this.adopt_to_the_end(&from, &request).await?;
            this.view(this.key_of(&version)?).await
        })
        .await
    }

    async fn adopt_to_the_end(&self, from: &Requester, request: &AdoptKey) -> Result<Arc<VersionEntry>, Error> {
        let AdoptKey { key: create, object } = request;
        let algorithm = create.algorithm;
        // Before the token is asked: who may not adopt learns nothing of what is in it.
        let snapshot = self.snapshot();
        let ring = self.authorize_adoption(&snapshot, from, create)?.0;
        check_object(object)?;
        if let Reservation::Repeated(version) = self.reservation(&snapshot, &ring, create)? {
            return repeated_before(version, request, &ring.token, self.token_of(&ring)?).await;
        }
        let token = self.token_of(&ring)?.clone();
        let found = token.find(object, algorithm, Instant::now() + DEADLINE).await;
        let found = found.map_err(|error| not_found(&ring.token, error))?;
        // Another ring's, whether a row names it or not: a database that was restored does not know the keys made since. What the
        // service keeps for itself, the secret by which the state is sealed for one, is of a ring that nobody adopts into.
        if made_for(&found.label).is_some_and(|owner| owner != ring.name.ring.as_str()) {
            return Err(Error::ObjectTaken { token: ring.token.clone(), object: found.id });
        }
        let adoption = found.adoption();
        let generated = GeneratedKey { id: found.id, spki_der: found.spki_der.clone(), attributes: found.attributes };
        let made = Made::of(algorithm, &generated).map_err(|what| {
            let what = format!("its public key is not one of {algorithm} ({what})");
            not_found(&ring.token, Unadoptable::OtherKey { what }.into())
        })?;
        let begun = self
            .change(|snapshot| {
                let (ring, permit) = self.authorize_adoption(snapshot, from, create)?;
                let (key, mut version) = match self.reservation(snapshot, &ring, create)? {
                    Reservation::Repeated(version) => {
                        return repeated_adoption(version, Some(adoption.object_id), request).map(Plan::Nothing);
                    }
                    Reservation::New { key, version } => (*key, *version),
                };
                if adoption.extractable && !ring.allow_extractable {
                    return Err(Error::KeyExtractable { ring: ring.name.clone() });
                }
                self.not_managed(snapshot, &ring.token, adoption.object_id, &made)?;
                version.adoption = Some(adoption.clone());
                let name = create.name.version(version.version);
                let said = said(&adoption, &found.label);
                let act = details::Described::new(from, &permit, name.to_string())
                    .algorithm(algorithm)
                    .because(&said)
                    .act(version.uid, true);
                let place = self.inner.in_flight.enter(version.uid, snapshot.epoch);
                let then = Adopting { permit, uid: version.uid, version: name, algorithm, place };
                let rows = vec![RowChange::PutKey(key), RowChange::PutKeyVersion(version)];
                Ok(Plan::Change { rows, act: Box::new(act), then })
            })
            .await?;
        match begun {
            Done::Nothing(version) => Ok(version),
            Done::Changed { recorded, then, .. } => {
                self.finish_adoption(recorded, then, &ring.token, &token, &found, &made).await
            }
        }
    }

    fn authorize_adoption(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        create: &CreateKey,
    ) -> Result<(Ring, Permit), Error> {
        let CreateKey { name, algorithm, allow_digest, .. } = create;
        let operation = OperationContext::CreateKey { algorithm: *algorithm, allow_digest: *allow_digest };
        self.authorize_ring(snapshot, from, Action::AdoptKey, &name.ring_name(), operation)
    }

    /// Refuses an object that a version has already, in whatever ring, the system ring included. The configuration says on which
    /// token a ring is now, and not where it was when the version came: only a CKA_ID that others have given, which may be
    /// there once more in another token, is told apart, by its public key.
    fn not_managed(&self, snapshot: &Snapshot, token: &Id, object: TokenObjectId, made: &Made) -> Result<(), Error> {
        let is_another = |version: &VersionEntry| {
            let elsewhere = self.any_ring(&version.name.key.ring).is_some_and(|ring| ring.token != *token);
            let differs = match (&version.public, made.public()) {
                (Some(known), Some(found)) => known.spki_der() != found.spki_der(),
                (None, _) | (_, None) => false,
            };
            elsewhere && version.adoption.is_some() && differs
        };
        let taken = snapshot
            .keys
            .values()
            .flat_map(|key| key.versions.values())
            .any(|version| version.object_id() == object && !is_another(version));
        if taken { Err(Error::ObjectTaken { token: token.clone(), object }) } else { Ok(()) }
    }

    async fn finish_adoption(
        &self,
        recorded: Recorded,
        adopting: Adopting,
        token_id: &Id,
        token: &Token,
        found: &FoundKey,
        made: &Made,
    ) -> Result<Arc<VersionEntry>, Error> {
        let Adopting { permit, uid, version, algorithm, place } = adopting;
        let act = recorded.index();
        place.recorded_as(act);
        let unfinished = Unfinished { act, uid, version: version.clone(), algorithm, work: Work::Adoption };
        match ask_for_proof(permit, recorded, token, found, algorithm).await {
            Ok(()) => {
                self.complete_or_settle(unfinished, Ok(made)).await?;
                self.snapshot().version(uid).map(|(_, version)| Arc::clone(version))
            }
            Err(error) => {
                tracing::warn!(%version, %error, "a key was not adopted");
                let failure = match &error {
                    FindKeyError::Failed(failure) => failure.clone(),
                    FindKeyError::Unadoptable(why) => refused(why),
                };
                self.complete_or_settle(unfinished, Err(&failure)).await?;
                Err(not_found(token_id, error))
            }
        }
    }
}

/// The only place where a token is asked to use a key that is not under management yet. It takes the permit and the recorded
/// act by value.
async fn ask_for_proof(
    _permit: Permit,
    _recorded: Recorded,
    token: &Token,
    found: &FoundKey,
    algorithm: Algorithm,
) -> Result<(), FindKeyError> {
    chancery_fail_point::FailPoint::KeyReserved.pass();
    token.prove_found(found, algorithm, Instant::now() + DEADLINE).await
}

/// The answer to a request that adopted a key before, and whose object has not been looked for now. Which one a label means
/// only the token can say, as long as it has the key.
async fn repeated_before(
    version: Arc<VersionEntry>,
    request: &AdoptKey,
    token_id: &Id,
    token: &Token,
) -> Result<Arc<VersionEntry>, Error> {
    let version = repeated_adoption(version, None, request)?;
    if request.object.label.is_none() || version.state == KeyState::Destroyed || is_begun(&version) {
        return Ok(version);
    }
    match token.find(&request.object, version.algorithm, Instant::now() + DEADLINE).await {
        Ok(found) => repeated_adoption(version, Some(found.id), request),
        Err(FindKeyError::Unadoptable(Unadoptable::NotFound)) => Err(reused(request)),
        Err(error) => Err(not_found(token_id, error)),
    }
}

/// The answer to a request that adopted a key before: that key, if it is what the request asks for. `found` is the object that
/// it means now, where the token has been asked.
fn repeated_adoption(
    version: Arc<VersionEntry>,
    found: Option<TokenObjectId>,
    request: &AdoptKey,
) -> Result<Arc<VersionEntry>, Error> {
    let asked = [request.object.id, found];
    let is_same = |adoption: &Adoption| asked.into_iter().flatten().all(|id| id == adoption.object_id);
    if version.adoption.as_ref().is_some_and(is_same) { Ok(version) } else { Err(reused(request)) }
}

fn reused(request: &AdoptKey) -> Error {
    Error::RequestIdReused { request_id: request.key.request_id.clone().unwrap_or_default() }
}

/// The ring for which the service made an object with this label (see [`crate::generate::object_label`]).
fn made_for(label: &str) -> Option<&str> {
    label.strip_prefix("chancery:")?.split_once('/').map(|(ring, _)| ring)
}

fn check_object(object: &ObjectQuery) -> Result<(), Error> {
    let ObjectQuery { id, label } = object;
    if id.is_none() && label.is_none() {
        return Err(Error::invalid(
            "token_object_id",
            "must be given, or token_object_label: which key of the token it is",
        ));
    }
    match label {
        Some(label) if label.len() > MOST_LABEL_BYTES => {
            Err(Error::invalid("token_object_label", format!("has at most {MOST_LABEL_BYTES} bytes")))
        }
        Some(_) | None => Ok(()),
    }
}

fn not_found(token: &Id, error: FindKeyError) -> Error {
    match error {
        FindKeyError::Unadoptable(why) => Error::NotAdoptable { token: token.clone(), why },
        FindKeyError::Failed(failure) => Error::Device { operation: Action::AdoptKey, token: token.clone(), failure },
    }
}

/// What the record says of a key that did not prove itself.
fn refused(why: &Unadoptable) -> HsmFailure {
    HsmFailure {
        kind: HsmErrorKind::Configuration,
        function: None,
        return_code: None,
        attempts: 1,
        message: why.to_string(),
    }
}

/// What the record says of a key that is adopted.
fn said(adoption: &Adoption, label: &str) -> String {
    let Adoption { object_id, imported, extractable } = adoption;
    let origin = if *imported { "imported into the token" } else { "made in the token" };
    let copies = if *extractable { "a copy of it may be outside the token" } else { "it never could leave the token" };
    // A label of the token's is no text of ours, and may be long.
    let label: String = label.chars().take(64).collect();
    format!("adopted: the key with CKA_ID {object_id} and label {label:?}, {origin}; {copies}")
}

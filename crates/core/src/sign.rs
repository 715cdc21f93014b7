//! Signing: find, authorise, record, ask the token, record the outcome. One item or many, the story is the same.

mod asking;

use std::sync::Arc;

use bytes::Bytes;
use chancery_audit::{Outcome, RecordError};
use chancery_crypto::{CallerRequest, PublicKey};
use chancery_fail_point::FailPoint;
use chancery_hsm::{DeviceSignature, HsmFailure, MAX_DEVICE_MESSAGE_BYTES, SigningKey, Token};
use chancery_model::{
    Action, Algorithm, Digest, EcdsaEncoding, HashAlgorithm, Id, KeyPurpose, KeyVersionName, Timestamp, Uid,
};
use chancery_policy::{OperationContext, Permit, SignInputKind};
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::batch::giving_way;
use crate::change::ATTEMPTS;
use crate::details;
use crate::evidence::{Vouched, spoken_of};
use crate::keys::{AllowedKey, KeyOrVersion};
use crate::pace::paced;
use crate::state::{KeyEntry, Snapshot, VersionEntry};
use crate::usage::{Counted, refuse_beyond};
use crate::{CallerSignature, Chancery, Error, Observation, ReceiptAnswer, Requester};
use asking::ask_all;

/// What is signed or was signed.
#[derive(Clone)]
pub enum Input {
    /// The message itself; the service hashes it.
    Message(Bytes),
    /// Its digest, made by the caller.
    Digest(Bytes),
}

impl std::fmt::Debug for Input {
    // Payloads never show.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::Digest(bytes) => write!(f, "Digest({} bytes)", bytes.len()),
        }
    }
}

/// What to sign, and with what.
#[derive(Debug, Clone)]
pub struct SignRequest {
    /// With which key (its primary version) or version.
    pub name: KeyOrVersion,
    /// What.
    pub input: Input,
    /// How to write an ECDSA signature.
    pub encoding: EcdsaEncoding,
    /// The caller's own signature of this request, where there is one.
    pub caller_signature: Option<Arc<CallerSignature>>,
    /// Whether to wait for a receipt.
    pub receipt: bool,
}

/// A signature, and what made it.
#[derive(Debug, Clone)]
pub struct SignAnswer {
    /// The version that signed.
    pub version: KeyVersionName,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The signature.
    pub signature: Vec<u8>,
    /// For secp256k1.
    pub recovery_id: Option<u8>,
    /// Index of the intent in the record.
    pub record_index: u64,
    /// The receipt, where one was asked for.
    pub receipt: Option<ReceiptAnswer>,
}

/// An item that policy allows and that is fit to be signed.
pub(crate) struct Prepared {
    pub permit: Permit,
    pub key: SigningKey,
    /// The version's, by which the record and those who wait for it know it.
    pub uid: Uid,
    pub version: KeyVersionName,
    pub token: Token,
    pub token_id: Id,
    pub input: DeviceInput,
    pub encoding: EcdsaEncoding,
    /// Against whose limits of signatures it counts: the key's and the caller's, where they have any.
    pub counted: Vec<Counted>,
    /// Where the key has a pace.
    pub paced: Option<Arc<KeyEntry>>,
    /// That the request was looked at for its caller's signature.
    pub vouched: Vouched,
}

/// What goes to the token.
pub(crate) enum DeviceInput {
    /// For Ed25519, which reads the message itself.
    Message(Bytes),
    Digest(Digest),
}

/// How several requests are decided on.
#[derive(Clone, Copy)]
enum Deciding {
    /// One after another.
    AtOnce,
    /// So that other calls have their turn in between.
    GivingWay,
}

/// How one item ended in the token.
pub(crate) struct Ended {
    pub record_index: u64,
    pub version: KeyVersionName,
    pub end: Result<DeviceSignature, HsmFailure>,
}

impl Chancery {
    /// Makes one signature.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] before anything else; then [`Error::InvalidField`], [`Error::DigestNotAllowed`],
    /// [`Error::NotFound`], [`Error::NoPrimary`], [`Error::NotActive`]; [`Error::Overloaded`], [`Error::RecordClosed`]
    /// and [`Error::StateChanging`] before the token was asked; [`Error::Device`] and [`Error::DeadlineExceeded`] after.
    pub async fn sign(&self, from: &Requester, request: SignRequest) -> Result<SignAnswer, Error> {
        let (this, from) = (self.clone(), from.clone());
        let (wanted, deadline) = (request.receipt, from.deadline);
        let answer = self.to_the_end(async move {
            let prepare = |snapshot: &Snapshot| this.prepare(snapshot, &from, &request, 1);
            this.sign_one(&from, Action::Sign, prepare).await
        });
        let mut answer = answer.await?;
        if wanted {
            answer.receipt = Some(self.receipt(answer.record_index, deadline).await);
        }
        Ok(answer)
    }

    /// Makes the signatures of a batch.
    pub(crate) async fn sign_all(
        &self,
        from: &Requester,
        requests: &[SignRequest],
    ) -> Result<Vec<Result<SignAnswer, Error>>, Error> {
        let prepare =
            |snapshot: &Snapshot, request: &SignRequest| self.prepare(snapshot, from, request, requests.len());
        // 256 of them are 10 to 16 ms of public-key arithmetic.
        let vouched_for = requests.iter().any(|request| request.caller_signature.is_some());
        let deciding = if vouched_for { Deciding::GivingWay } else { Deciding::AtOnce };
        self.sign_prepared(from, Action::Sign, requests, deciding, prepare).await
    }

    /// Makes the one signature that `prepare` decides on.
    pub(crate) async fn sign_one(
        &self,
        from: &Requester,
        action: Action,
        mut prepare: impl FnMut(&Snapshot) -> Result<Prepared, Error>,
    ) -> Result<SignAnswer, Error> {
        let mut answers =
            self.sign_prepared(from, action, &[()], Deciding::AtOnce, |snapshot, &()| prepare(snapshot)).await?;
        answers.pop().unwrap_or_else(|| Err(Error::internal("a signature was asked for and not answered")))
    }

    /// Lets `prepare` decide on all requests, records the intents of those that are allowed in one commit, asks the token for
    /// each, and records how they ended. Where the state changes in between, `prepare` decides afresh. Items beyond the limits
    /// of their key or caller are refused, the others made.
    async fn sign_prepared<R>(
        &self,
        from: &Requester,
        action: Action,
        requests: &[R],
        deciding: Deciding,
        mut prepare: impl FnMut(&Snapshot, &R) -> Result<Prepared, Error>,
    ) -> Result<Vec<Result<SignAnswer, Error>>, Error> {
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            let decisions = requests.iter().map(|request| prepare(&snapshot, request));
            let mut decided = match deciding {
                Deciding::AtOnce => decisions.collect(),
                Deciding::GivingWay => giving_way(decisions).await,
            };
            loop {
                let mut admitted = self.admit(&snapshot, from, &mut decided)?;
                let allowed: Vec<&Prepared> = decided.iter().filter_map(|item| item.as_ref().ok()).collect();
                if allowed.is_empty() {
                    // None was allowed, so each item is an error already.
                    return Ok(decided.into_iter().map(|item| item.and(Err(Error::StateChanging))).collect());
                }
                let slot = self.inner.log.reserve(from.caller.uid, allowed.len())?;
                let tickets: Vec<_> = allowed.iter().map(|item| self.enter(from, item.uid, snapshot.epoch)).collect();
                let intents = allowed.iter().map(|item| details::sign_intent(from, item)).collect();
                let span = debug_span!("record", chancery.record.intents = allowed.len());
                let begun = Instant::now();
                let recorded = match self.inner.log.record_intents(snapshot.epoch, intents).instrument(span).await {
                    Ok(recorded) => {
                        admitted.spend();
                        self.observe(Observation::Recorded { took: begun.elapsed() });
                        recorded
                    }
                    Err(RecordError::StaleEpoch) => {
                        drop((tickets, slot, admitted));
                        self.refresh(snapshot.epoch).await?;
                        break;
                    }
                    Err(RecordError::UsageLimit { of, kind, left }) => {
                        // Fewer items each time, so this ends.
                        refuse_beyond(&mut decided, of, kind, left);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                for (ticket, recorded) in tickets.iter().zip(&recorded) {
                    ticket.recorded_as(recorded.index());
                }
                let (answers, ends) = ask_all(decided, recorded, from.deadline).await;
                self.observe_ends(&ends);
                let details = details::ends(from, action, &ends);
                let outcome = Outcome { time: Timestamp::now(), items: details::items(&ends), details };
                FailPoint::AnswerVerified.pass();
                self.inner.log.record_outcome(slot, outcome);
                FailPoint::OutcomeQueued.pass();
                return Ok(answers);
            }
        }
        Err(Error::StateChanging)
    }

    /// Finds the version, authorises, and checks that the input is one that it signs: in this order, so that nobody
    /// learns of a key that he may not use.
    fn prepare(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        request: &SignRequest,
        batch_size: usize,
    ) -> Result<Prepared, Error> {
        let SignRequest { name, input, encoding, caller_signature, receipt: _ } = request;
        let allowed =
            self.authorize_key(snapshot, from, Action::Sign, name, |key| sign_context(key, name, input, batch_size))?;
        allowed.key.require(KeyPurpose::Signature, Action::Sign)?;
        let version = self.resolve(&allowed.key, name)?;
        let input = match (input, version.algorithm.hash()) {
            (Input::Digest(_), _) if !allowed.key.allow_digest => {
                return Err(Error::DigestNotAllowed { key: allowed.key.name.clone() });
            }
            (Input::Digest(bytes), _) => DeviceInput::Digest(digest_for(&allowed.key, bytes)?),
            (Input::Message(message), hash) => {
                self.check_message(message, version.algorithm)?;
                match hash {
                    Some(hash) => DeviceInput::Digest(chancery_crypto::hash(hash, message)),
                    None => DeviceInput::Message(message.clone()),
                }
            }
        };
        let public = version.signs_with()?.clone();
        let signed = caller_signature.as_ref().map(|signature| (signature, spoken_of(&input)));
        let signed = signed.as_ref().map(|(signature, digest)| {
            let as_digest = matches!(request.input, Input::Digest(_));
            (&***signature, CallerRequest::Sign { as_digest, digest, encoding: *encoding })
        });
        let vouched = self.vouched(from, &allowed, Action::Sign, name, signed)?;
        self.prepared(snapshot, from, allowed, &version, public, input, *encoding, vouched)
    }

    /// What policy allowed, put together for the token. `public` is the version's, whose state allows the use.
    #[allow(clippy::too_many_arguments, reason = "each is one field of what comes out")]
    pub(crate) fn prepared(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        allowed: AllowedKey,
        version: &VersionEntry,
        public: PublicKey,
        input: DeviceInput,
        encoding: EcdsaEncoding,
        vouched: Vouched,
    ) -> Result<Prepared, Error> {
        Ok(Prepared {
            counted: self.counted(snapshot, from, &allowed.key),
            paced: paced(&allowed.key),
            permit: allowed.permit,
            key: SigningKey { id: version.object_id(), public },
            uid: version.uid,
            version: version.name.clone(),
            token: self.token_for(from, &allowed.ring)?,
            token_id: allowed.ring.token,
            input,
            encoding,
            vouched,
        })
    }

    /// A message has 1 byte to the limit; for Ed25519, whose messages enter the token, to a smaller one.
    pub(crate) fn check_message(&self, message: &[u8], algorithm: Algorithm) -> Result<(), Error> {
        let limit = match algorithm.hash() {
            Some(_) => self.inner.limits.max_message_bytes,
            None => self.inner.limits.max_message_bytes.min(MAX_DEVICE_MESSAGE_BYTES),
        };
        match message.len() {
            0 => Err(Error::invalid("input.message", "the message is empty; give 1 byte or more")),
            length if length > limit => {
                let rule = format!("the message has {length} bytes; a message for {algorithm} has at most {limit}");
                Err(Error::invalid("input.message", rule))
            }
            _ => Ok(()),
        }
    }
}

fn sign_context(key: &KeyEntry, name: &KeyOrVersion, input: &Input, batch_size: usize) -> OperationContext {
    let (input, bytes) = match input {
        Input::Message(bytes) => (SignInputKind::Message, bytes),
        Input::Digest(bytes) => (SignInputKind::Digest, bytes),
    };
    let version = key.version_named(name);
    OperationContext::Sign { input, input_bytes: bytes.len() as u64, batch_size: batch_size as u64, version }
}

/// Takes bytes for a digest that fits the key's algorithm.
pub(crate) fn digest_for(key: &KeyEntry, bytes: &[u8]) -> Result<Digest, Error> {
    let hash: HashAlgorithm = key.algorithm.hash().ok_or_else(|| Error::DigestNotAllowed { key: key.name.clone() })?;
    Digest::new(hash, bytes.to_vec()).map_err(|error| Error::invalid("input.digest", error.to_string()))
}

//! Message authentication codes: made and checked in the token, which alone knows the secret. Both uses of the secret are
//! on the record before they happen.

use std::sync::Arc;

use bytes::Bytes;
use chancery_audit::{Outcome, RecordError, Recorded};
use chancery_fail_point::FailPoint;
use chancery_hsm::{DeviceMac, DeviceVerdict, HsmErrorKind, HsmFailure, MAX_MAC_MESSAGE_BYTES, MacKey, Token};
use chancery_model::{Action, Algorithm, Id, KeyPurpose, KeyState, KeyVersionName, Timestamp, Uid};
use chancery_policy::{OperationContext, Permit};
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::change::ATTEMPTS;
use crate::details::{self, MacEnd};
use crate::keys::KeyOrVersion;
use crate::pace::paced;
use crate::state::{KeyEntry, Snapshot};
use crate::usage::Counted;
use crate::{Chancery, Error, Observation, Requester};

/// Of what to make a MAC, and with what.
#[derive(Clone)]
pub struct MacSignRequest {
    /// With which key (its primary version) or version.
    pub name: KeyOrVersion,
    /// The message.
    pub message: Bytes,
}

/// A MAC, and what made it.
#[derive(Clone)]
pub struct MacSignAnswer {
    /// The version that made it.
    pub version: KeyVersionName,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The MAC, whole.
    pub mac: Vec<u8>,
    /// Index of the intent in the record.
    pub record_index: u64,
}

/// What to check.
#[derive(Clone)]
pub struct MacVerifyRequest {
    /// With which key (its primary version) or version.
    pub name: KeyOrVersion,
    /// The message.
    pub message: Bytes,
    /// The MAC.
    pub mac: Bytes,
}

/// The token's verdict.
#[derive(Debug, Clone)]
pub struct MacVerifyAnswer {
    /// The version that it was checked with.
    pub version: KeyVersionName,
    /// Whether the MAC is that version's over the message.
    pub valid: bool,
    /// The version's state when it was decided.
    pub state: KeyState,
    /// Index of the intent in the record.
    pub record_index: u64,
}

/// A use of a secret that policy allows.
pub(crate) struct PreparedMac {
    pub permit: Permit,
    pub key: MacKey,
    /// The version's, by which the record and those who wait for it know it.
    pub uid: Uid,
    pub version: KeyVersionName,
    pub message: Bytes,
    /// Against whose limits of signatures it counts, where it is one.
    pub counted: Vec<Counted>,
    /// Where the key has a pace.
    paced: Option<Arc<KeyEntry>>,
    state: KeyState,
    token: Token,
    token_id: Id,
}

impl Chancery {
    /// Makes one MAC.
    ///
    /// # Errors
    /// As [`Chancery::sign`]; [`Error::WrongPurpose`] for a key that makes signatures.
    pub async fn mac_sign(&self, from: &Requester, request: MacSignRequest) -> Result<MacSignAnswer, Error> {
        let (this, from) = (self.clone(), from.clone());
        let MacSignRequest { name, message } = request;
        self.to_the_end(async move {
            let used = this
                .use_secret(&from, Action::MacSign, &name, &message, async |item, recorded| {
                    ask_for_mac(item, recorded, from.deadline).await
                })
                .await?;
            let Used { version, algorithm, record_index, result, .. } = used;
            Ok(MacSignAnswer { version, algorithm, mac: result.bytes, record_index })
        })
        .await
    }

    /// Checks one MAC. One that does not fit is an answer, not an error.
    ///
    /// # Errors
    /// As [`Chancery::mac_sign`]; [`Error::WrongState`] where the version's MACs are no longer checked.
    pub async fn mac_verify(&self, from: &Requester, request: MacVerifyRequest) -> Result<MacVerifyAnswer, Error> {
        let (this, from) = (self.clone(), from.clone());
        let MacVerifyRequest { name, message, mac } = request;
        self.to_the_end(async move {
            let used = this
                .use_secret(&from, Action::MacVerify, &name, &message, async |item, recorded| {
                    ask_for_verdict(item, recorded, &mac, from.deadline).await
                })
                .await?;
            let Used { version, state, record_index, result, .. } = used;
            Ok(MacVerifyAnswer { version, valid: result.valid, state, record_index })
        })
        .await
    }

    /// Decides, records the intent, lets `ask` ask the token, and records how it ended.
    async fn use_secret<T: MacEnd>(
        &self,
        from: &Requester,
        action: Action,
        name: &KeyOrVersion,
        message: &Bytes,
        ask: impl AsyncFnOnce(PreparedMac, Recorded) -> Result<T, HsmFailure>,
    ) -> Result<Used<T>, Error> {
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            let item = self.prepare_mac(&snapshot, from, action, name, message)?;
            let mut admitted = self.admit_one(&snapshot, from, item.paced.as_ref())?;
            let slot = self.inner.log.reserve(from.caller.uid, 1)?;
            let ticket = self.enter(from, item.uid, snapshot.epoch);
            let intent = details::mac_intent(from, &item);
            let span = debug_span!("record", chancery.record.intents = 1);
            let begun = Instant::now();
            let mut recorded = match self.inner.log.record_intents(snapshot.epoch, vec![intent]).instrument(span).await
            {
                Ok(recorded) => {
                    admitted.spend();
                    self.observe(Observation::Recorded { took: begun.elapsed() });
                    recorded
                }
                Err(RecordError::StaleEpoch) => {
                    drop((ticket, slot, admitted));
                    self.refresh(snapshot.epoch).await?;
                    continue;
                }
                Err(error @ RecordError::UsageLimit { of, kind, .. }) => {
                    let counted = item.counted.iter().find(|counted| counted.claim.of == of);
                    return Err(counted.map_or_else(|| error.into(), |counted| counted.refusal(kind)));
                }
                Err(error) => return Err(error.into()),
            };
            let recorded = recorded.pop().ok_or_else(|| Error::internal("an intent was allowed and not recorded"))?;
            let record_index = recorded.index();
            ticket.recorded_as(record_index);
            let (version, algorithm, state) = (item.version.clone(), item.key.algorithm, item.state);
            let token_id = item.token_id.clone();
            let span = debug_span!(
                "token",
                chancery.token = %token_id,
                chancery.key_version = %version,
                chancery.algorithm = algorithm.as_str(),
                chancery.record.index = record_index,
            );
            let end = ask(item, recorded).instrument(span).await;
            let times = end.as_ref().map(MacEnd::times).map_err(|failure| failure.kind);
            self.observe(Observation::Asked { token: &token_id, end: times });
            let (items, details) = details::mac_end(from, action, &version, record_index, end.as_ref());
            FailPoint::AnswerVerified.pass();
            self.inner.log.record_outcome(slot, Outcome { time: Timestamp::now(), items, details });
            FailPoint::OutcomeQueued.pass();
            return match end {
                Ok(result) => Ok(Used { version, algorithm, state, record_index, result }),
                Err(failure) if failure.kind == HsmErrorKind::Deadline => {
                    Err(Error::DeadlineExceeded { record_index: Some(record_index) })
                }
                Err(failure) => Err(Error::Device { operation: action, token: token_id, failure }),
            };
        }
        Err(Error::StateChanging)
    }

    /// Finds the version, authorises, and checks that it is one that may do this: in this order, so that nobody learns
    /// of a key that he may not use.
    fn prepare_mac(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        action: Action,
        name: &KeyOrVersion,
        message: &Bytes,
    ) -> Result<PreparedMac, Error> {
        let operation = |key: &KeyEntry| OperationContext::Mac {
            input_bytes: message.len() as u64,
            version: key.version_named(name),
        };
        let allowed = self.authorize_key(snapshot, from, action, name, operation)?;
        allowed.key.require(KeyPurpose::Mac, action)?;
        let version = self.resolve(&allowed.key, name)?;
        check_mac_message(message)?;
        let making = action == Action::MacSign;
        if making && !version.state.may_sign() {
            return Err(Error::NotActive { version: version.name.clone(), state: version.state });
        }
        if !making && !version.state.may_verify() {
            return Err(Error::WrongState { version: version.name.clone(), state: version.state, action });
        }
        Ok(PreparedMac {
            counted: if making { self.counted(snapshot, from, &allowed.key) } else { Vec::new() },
            paced: paced(&allowed.key),
            permit: allowed.permit,
            key: MacKey { id: version.object_id(), algorithm: version.algorithm },
            uid: version.uid,
            version: version.name.clone(),
            message: message.clone(),
            state: version.state,
            token: self.token_for(from, &allowed.ring)?,
            token_id: allowed.ring.token,
        })
    }
}

/// A use of a secret that was recorded and done.
struct Used<T> {
    version: KeyVersionName,
    algorithm: Algorithm,
    state: KeyState,
    record_index: u64,
    result: T,
}

fn check_mac_message(message: &[u8]) -> Result<(), Error> {
    match message.len() {
        0 => Err(Error::invalid("message", "the message is empty; give 1 byte or more")),
        length if length > MAX_MAC_MESSAGE_BYTES => {
            let rule = format!(
                "the message has {length} bytes; the token reads it itself, and takes at most {MAX_MAC_MESSAGE_BYTES}"
            );
            Err(Error::invalid("message", rule))
        }
        _ => Ok(()),
    }
}

/// The only place where a token is asked for a MAC. It takes what was permitted and recorded by value.
async fn ask_for_mac(item: PreparedMac, _recorded: Recorded, deadline: Instant) -> Result<DeviceMac, HsmFailure> {
    let PreparedMac { permit: _permit, key, message, token, .. } = item;
    FailPoint::TokenUnasked.pass();
    token.mac(&key, &message, deadline).await
}

/// The only place where a token is asked whether a MAC is right.
async fn ask_for_verdict(
    item: PreparedMac,
    _recorded: Recorded,
    mac: &[u8],
    deadline: Instant,
) -> Result<DeviceVerdict, HsmFailure> {
    let PreparedMac { permit: _permit, key, message, token, .. } = item;
    FailPoint::TokenUnasked.pass();
    token.verify_mac(&key, &message, mac, deadline).await
}

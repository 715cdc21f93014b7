//! The token is asked, for each item on a task of its own, and what it says becomes an answer and an outcome.

use std::collections::HashMap;

use chancery_audit::Recorded;
use chancery_fail_point::FailPoint;
use chancery_hsm::{DeviceSignature, HsmErrorKind, HsmFailure, SignInput, SigningKey, Token};
use chancery_model::EcdsaEncoding;
use chancery_policy::Permit;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use super::{DeviceInput, Ended, Prepared, SignAnswer};
use crate::Error;

/// Asks the token for each allowed item; gives the answers in the items' order, and how the asked ones ended.
pub(super) async fn ask_all(
    decided: Vec<Result<Prepared, Error>>,
    recorded: Vec<Recorded>,
    deadline: Instant,
) -> (Vec<Result<SignAnswer, Error>>, Vec<Ended>) {
    let mut recorded = recorded.into_iter();
    let mut answers = Vec::with_capacity(decided.len());
    let mut ends = Vec::with_capacity(recorded.len());
    let mut asked = JoinSet::new();
    // Each on a task of its own, and what is needed to close its intent kept here: whatever happens to the task, every
    // answer stays at its place and every intent gets its outcome.
    let mut places = HashMap::with_capacity(recorded.len());
    for (place, item) in decided.into_iter().enumerate() {
        match item.map(|item| (item, recorded.next())) {
            Err(error) => answers.push((place, Err(error))),
            Ok((_, None)) => answers.push((place, Err(Error::internal("an intent was allowed and not recorded")))),
            Ok((item, Some(recorded))) => {
                let known = (place, recorded.index(), item.version.clone());
                let task = asked.spawn(ask_for_one(item, recorded, deadline).in_current_span());
                places.insert(task.id(), known);
            }
        }
    }
    while let Some(finished) = asked.join_next_with_id().await {
        let (task, result) = match finished {
            Ok((task, result)) => (task, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some((place, record_index, version)) = places.remove(&task) else { continue };
        let (answer, end) = result.unwrap_or_else(|error| {
            let what = format!("the task that asked the token ended: {error}");
            let failure = HsmFailure {
                kind: HsmErrorKind::OutcomeUnknown,
                function: None,
                return_code: None,
                attempts: 1,
                message: what.clone(),
            };
            (Err(Error::internal(what)), Ended { record_index, version, end: Err(failure) })
        });
        answers.push((place, answer));
        ends.push(end);
    }
    answers.sort_by_key(|(place, _)| *place);
    ends.sort_by_key(|end| end.record_index);
    (answers.into_iter().map(|(_, answer)| answer).collect(), ends)
}

async fn ask_for_one(item: Prepared, recorded: Recorded, deadline: Instant) -> (Result<SignAnswer, Error>, Ended) {
    let Prepared { permit, key, uid: _, version, token, token_id, input, encoding, counted: _, paced: _, vouched: _ } =
        item;
    let (record_index, operation) = (recorded.index(), permit.action());
    let span = debug_span!(
        "token",
        chancery.token = %token_id,
        chancery.key_version = %version,
        chancery.algorithm = key.public.algorithm().as_str(),
        chancery.record.index = record_index,
    );
    let end = ask_token(permit, recorded, &token, &key, &input, deadline).instrument(span).await;
    let answer = match &end {
        Ok(signature) => encode(&key, signature, encoding).map(|bytes| SignAnswer {
            version: version.clone(),
            algorithm: key.public.algorithm(),
            signature: bytes,
            recovery_id: signature.recovery_id,
            record_index,
            receipt: None,
        }),
        Err(failure) if failure.kind == HsmErrorKind::Deadline => {
            Err(Error::DeadlineExceeded { record_index: Some(record_index) })
        }
        Err(failure) => Err(Error::Device { operation, token: token_id, failure: failure.clone() }),
    };
    (answer, Ended { record_index, version, end })
}

/// The only place where a token is asked for a signature. It takes the permit and the recorded intent by value: who has
/// not both cannot call it, and nobody calls it twice for one record.
async fn ask_token(
    _permit: Permit,
    _recorded: Recorded,
    token: &Token,
    key: &SigningKey,
    input: &DeviceInput,
    deadline: Instant,
) -> Result<DeviceSignature, HsmFailure> {
    let input = match input {
        DeviceInput::Message(message) => SignInput::Message(message),
        DeviceInput::Digest(digest) => SignInput::Digest(digest),
    };
    FailPoint::TokenUnasked.pass();
    token.sign(key, input, deadline).await
}

/// Writes the token's signature down as the caller asked for.
fn encode(key: &SigningKey, signature: &DeviceSignature, encoding: EcdsaEncoding) -> Result<Vec<u8>, Error> {
    match (key.public.algorithm().curve(), encoding) {
        (Some(curve), EcdsaEncoding::Der) => chancery_crypto::ecdsa_der_from_fixed(curve, &signature.bytes)
            .map_err(|error| Error::internal(format!("the token's signature cannot be written as DER: {error}"))),
        (Some(_), EcdsaEncoding::P1363) | (None, _) => Ok(signature.bytes.clone()),
    }
}

//! How what is on the record ended: for the outcome's leaf, and in words.

use chancery_audit::{Details, Hex, ItemDetails, OutcomeItem, OutcomeResult};
use chancery_hsm::{ClearLatchError, DeviceMac, DeviceVerdict, HsmErrorKind, HsmFailure, SignTimes};
use chancery_model::{Action, KeyVersionName, Sha256Hash};

use crate::Requester;
use crate::generate::Made;
use crate::sign::Ended;

/// How each asked item ended, for the outcome's leaf.
pub(crate) fn items(ends: &[Ended]) -> Vec<OutcomeItem> {
    let item = |ended: &Ended| {
        let (result, signature_sha256) = match &ended.end {
            Ok(signature) => (OutcomeResult::Done, Some(chancery_crypto::sha256(&signature.bytes))),
            Err(failure) => (result_of(failure), None),
        };
        OutcomeItem { intent: ended.record_index, result, signature_sha256 }
    };
    ends.iter().map(item).collect()
}

/// How each asked item ended, in words. Caller, action and (of a single item) resource are said again, so that a search
/// for them finds the outcome, too.
pub(crate) fn ends(from: &Requester, action: Action, ends: &[Ended]) -> Details {
    let item = |ended: &Ended| match &ended.end {
        Ok(signature) => ItemDetails { attempts: Some(signature.attempts.into()), ..done(ended.record_index) },
        Err(failure) => failed(ended.record_index, failure),
    };
    let resource = match ends {
        [only] => Some(only.version.to_string()),
        _ => None,
    };
    Details {
        caller: Some(from.caller.id.to_string()),
        action: Some(action.to_string()),
        resource,
        items: ends.iter().map(item).collect(),
        ..Details::default()
    }
}

/// What the token answered of a MAC, as far as the record says it.
pub(crate) trait MacEnd {
    fn attempts(&self) -> u8;
    /// Where the time went.
    fn times(&self) -> SignTimes;
    /// SHA-256 of the MAC that was made.
    fn mac_sha256(&self) -> Option<Sha256Hash>;
    /// The verdict on a MAC that was checked.
    fn verdict(&self) -> Option<&'static str>;
}

impl MacEnd for DeviceMac {
    fn attempts(&self) -> u8 {
        self.attempts
    }
    fn times(&self) -> SignTimes {
        self.times
    }
    fn mac_sha256(&self) -> Option<Sha256Hash> {
        Some(chancery_crypto::sha256(&self.bytes))
    }
    fn verdict(&self) -> Option<&'static str> {
        None
    }
}

impl MacEnd for DeviceVerdict {
    fn attempts(&self) -> u8 {
        self.attempts
    }
    fn times(&self) -> SignTimes {
        self.times
    }
    fn mac_sha256(&self) -> Option<Sha256Hash> {
        None
    }
    fn verdict(&self) -> Option<&'static str> {
        Some(if self.valid { "the MAC is valid" } else { "the MAC is not valid" })
    }
}

/// How one use of a MAC key's secret ended: for the outcome's leaf, and in words.
pub(crate) fn mac_end(
    from: &Requester,
    action: Action,
    version: &KeyVersionName,
    intent: u64,
    end: Result<&impl MacEnd, &HsmFailure>,
) -> (Vec<OutcomeItem>, Details) {
    let (result, signature_sha256, item) = match end {
        Ok(end) => {
            let (attempts, message) = (Some(end.attempts().into()), end.verdict().map(str::to_owned));
            (OutcomeResult::Done, end.mac_sha256(), ItemDetails { attempts, message, ..done(intent) })
        }
        Err(failure) => (result_of(failure), None, failed(intent, failure)),
    };
    let details = Details {
        caller: Some(from.caller.id.to_string()),
        action: Some(action.to_string()),
        resource: Some(version.to_string()),
        items: vec![item],
        ..Details::default()
    };
    (vec![OutcomeItem { intent, result, signature_sha256 }], details)
}

/// How the making of a key pair ended.
pub(crate) fn generation_end(
    act: u64,
    resource: String,
    result: OutcomeResult,
    end: Result<&Made, &HsmFailure>,
) -> Details {
    let (item, spki_sha256) = match end {
        Ok(made) => (done(act), made.public().map(|public| Hex::from(public.spki_sha256()))),
        Err(failure) => (ItemDetails { result, ..failed(act, failure) }, None),
    };
    Details { resource: Some(resource), items: vec![item], spki_sha256, ..Details::default() }
}

/// How a login ended that was let be tried although the PIN had been refused.
pub(crate) fn clearing_end(act: u64, resource: &str, end: &Result<(), ClearLatchError>) -> Details {
    let item = match end {
        Ok(()) => done(act),
        Err(ClearLatchError::Failed(failure)) => ItemDetails { result: OutcomeResult::Failed, ..failed(act, failure) },
        Err(error @ (ClearLatchError::NotLatched | ClearLatchError::Pin(_))) => {
            ItemDetails { result: OutcomeResult::Failed, message: Some(error.to_string()), ..done(act) }
        }
    };
    Details { resource: Some(resource.to_owned()), items: vec![item], ..Details::default() }
}

/// An act of which nobody knows how it ended, since the service stopped in the middle of it.
pub(crate) fn unknown_end(act: u64) -> Details {
    let message = "the service stopped before the outcome was recorded";
    let item = ItemDetails { result: OutcomeResult::Unknown, message: Some(message.to_owned()), ..done(act) };
    Details { items: vec![item], ..Details::default() }
}

/// The secret of the state is made, and the state sealed with it.
pub(crate) fn state_sealed(act: u64, version: &KeyVersionName, message: &str) -> Details {
    let item = ItemDetails { message: Some(message.to_owned()), ..done(act) };
    Details { resource: Some(version.to_string()), items: vec![item], ..Details::default() }
}

/// A secret of the state was made, and the service stopped before anything was sealed with it.
pub(crate) fn secret_unfinished(act: u64) -> Details {
    let message = "the service stopped before the state was sealed with it; it is destroyed".to_owned();
    let item = ItemDetails { result: OutcomeResult::Failed, message: Some(message), ..done(act) };
    Details { items: vec![item], ..Details::default() }
}

/// How the destruction of a version ended.
pub(crate) fn destruction_end(act: u64, version: &KeyVersionName) -> Details {
    let message = Some("destroyed in the token, and looked for there in vain".to_owned());
    let item = ItemDetails { message, ..done(act) };
    Details { resource: Some(version.to_string()), items: vec![item], ..Details::default() }
}

fn done(intent: u64) -> ItemDetails {
    ItemDetails {
        intent,
        result: OutcomeResult::Done,
        pkcs11_function: None,
        pkcs11_return_code: None,
        attempts: None,
        message: None,
    }
}

fn failed(intent: u64, failure: &HsmFailure) -> ItemDetails {
    ItemDetails {
        intent,
        result: result_of(failure),
        pkcs11_function: failure.function.map(str::to_owned),
        pkcs11_return_code: failure.return_code.map(chancery_hsm::return_code_name),
        attempts: Some(failure.attempts.into()),
        message: Some(failure.message.clone()),
    }
}

/// Whether a failed signature may have been made all the same.
pub(crate) fn result_of(failure: &HsmFailure) -> OutcomeResult {
    match failure.kind {
        _ if failure.attempts == 0 => OutcomeResult::Failed,
        HsmErrorKind::OutcomeUnknown | HsmErrorKind::Deadline | HsmErrorKind::WorkerLost => OutcomeResult::Unknown,
        HsmErrorKind::Session
        | HsmErrorKind::KeyNotFound
        | HsmErrorKind::KeyAmbiguous
        | HsmErrorKind::LoginLost
        | HsmErrorKind::PinLatched
        | HsmErrorKind::Capacity
        | HsmErrorKind::Overloaded
        | HsmErrorKind::Bug
        | HsmErrorKind::TokenAbsent
        | HsmErrorKind::Module
        | HsmErrorKind::Memory
        | HsmErrorKind::Configuration
        | HsmErrorKind::InputLength
        | HsmErrorKind::WrongSignature
        | HsmErrorKind::Stopping => OutcomeResult::Failed,
    }
}

//! What the record says of each case: the use cases hand in what they know, here it gets its place.

use std::num::NonZeroU16;

use chancery_audit::archive::Copied;
use chancery_audit::checkpoint::Checkpoint;
use chancery_audit::{
    Act, AuthenticationDetails, Decision, Details, Erased, Hex, Intent, ItemDetails, OutcomeItem, OutcomeResult,
    SignedDetails, ToErase,
};
use chancery_hsm::{ClearLatchError, DeviceMac, DeviceVerdict, HsmErrorKind, HsmFailure, SignTimes};
use chancery_model::{
    Action, Algorithm, Authentication, CertificateProof, HashAlgorithm, KeyPurpose, KeyVersionName, OidcProof,
    Sha256Hash, Timestamp, Uid,
};
use chancery_policy::Permit;
use chancery_store::CallerRow;

use crate::Requester;
use crate::generate::Made;
use crate::mac::PreparedMac;
use crate::sign::{DeviceInput, Ended, Prepared};
use crate::state::KeyEntry;

/// Who asked, as far as a record says it.
pub(crate) fn requester(from: &Requester) -> Details {
    let authentication = match from.authentication.clone() {
        Authentication::Certificate(CertificateProof { identity, fingerprint, serial }) => {
            AuthenticationDetails::Certificate {
                identity: identity.to_string(),
                certificate_sha256: Hex::from(fingerprint),
                certificate_serial: serial,
            }
        }
        Authentication::ApiKey(key) => AuthenticationDetails::ApiKey { api_key: key.id.to_string() },
        Authentication::CertificateAndApiKey(certificate, key) => {
            let CertificateProof { identity, fingerprint, serial } = certificate;
            AuthenticationDetails::CertificateAndApiKey {
                identity: identity.to_string(),
                certificate_sha256: Hex::from(fingerprint),
                certificate_serial: serial,
                api_key: key.id.to_string(),
            }
        }
        Authentication::OidcToken(OidcProof { identity, expires: _, token_id, key_id }) => {
            AuthenticationDetails::OidcToken {
                oidc_identity: identity.to_string(),
                token_id_sha256: token_id.map(Hex::from),
                key_id_sha256: key_id.map(Hex::from),
            }
        }
        Authentication::CertificateAndOidcToken(certificate, token) => {
            let CertificateProof { identity, fingerprint, serial } = certificate;
            let OidcProof { identity: oidc_identity, expires: _, token_id, key_id } = token;
            AuthenticationDetails::CertificateAndOidcToken {
                identity: identity.to_string(),
                certificate_sha256: Hex::from(fingerprint),
                certificate_serial: serial,
                oidc_identity: oidc_identity.to_string(),
                token_id_sha256: token_id.map(Hex::from),
                key_id_sha256: key_id.map(Hex::from),
            }
        }
    };
    Details {
        caller: Some(from.caller.id.to_string()),
        authentication: Some(authentication),
        source_address: from.source.map(|address| address.to_string()),
        trace_id: from.trace_id.clone(),
        ..Details::default()
    }
}

/// An allowed call, in the record's words.
pub(crate) struct Described {
    time: Timestamp,
    caller: Uid,
    action: Action,
    policy_set: Sha256Hash,
    details: Details,
}

impl Described {
    pub fn new(from: &Requester, permit: &Permit, resource: String) -> Self {
        let details = Details {
            action: Some(permit.action().to_string()),
            resource: Some(resource),
            decision: Some(Decision::Allow),
            policies: permit.policies().iter().map(ToString::to_string).collect(),
            policy_set: Some(Hex::from(permit.policy_set())),
            attributes: Some(permit.attributes()),
            ..requester(from)
        };
        Self {
            time: Timestamp::now(),
            caller: from.caller.uid,
            action: permit.action(),
            policy_set: permit.policy_set(),
            details,
        }
    }

    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.details.algorithm = Some(algorithm.to_string());
        self
    }

    /// Keeps the reason that a person gave.
    pub fn because(mut self, reason: &str) -> Self {
        self.details.message = (!reason.is_empty()).then(|| reason.to_owned());
        self
    }

    pub fn new_policy_set(mut self, hash: &Sha256Hash) -> Self {
        self.details.message = Some(format!("policy set {} is applied", Hex::from(*hash)));
        self
    }

    /// Says which fields of the resource change.
    pub fn changed(mut self, fields: &[&str]) -> Self {
        self.details.message = Some(format!("changed: {}", fields.join(", ")));
        self
    }

    /// As the record of a change of `resource`.
    pub fn act(self, resource: Uid, opens: bool) -> Act {
        let Self { time, caller, action, policy_set, details } = self;
        Act { time, caller, resource, action: Some(action), policy_set, details, opens }
    }
}

/// The intent to make one signature.
pub(crate) fn sign_intent(from: &Requester, item: &Prepared) -> Intent {
    let public = &item.key.public;
    let described = Described::new(from, &item.permit, item.version.to_string()).algorithm(public.algorithm());
    let Described { time, caller, action, policy_set, mut details } = described;
    details.signed = Some(signed(&item.input));
    details.spki_sha256 = Some(Hex::from(public.spki_sha256()));
    details.caller_signature = item.vouched.details();
    let counts = item.counted.iter().map(|counted| counted.claim).collect();
    Intent { time, caller, resource: item.uid, action, policy_set, counts, details }
}

/// The digest of what is signed. Of a message that the token reads itself (Ed25519, ML-DSA), SHA-256.
fn signed(input: &DeviceInput) -> SignedDetails {
    match input {
        DeviceInput::Digest(digest) => {
            SignedDetails { hash: digest.algorithm().to_string(), digest: Hex::from(digest.as_bytes()) }
        }
        DeviceInput::Message(message) => sha256_of(message),
    }
}

fn sha256_of(message: &[u8]) -> SignedDetails {
    SignedDetails { hash: HashAlgorithm::Sha256.to_string(), digest: Hex::from(chancery_crypto::sha256(message)) }
}

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

/// The intent to use a MAC key's secret once.
pub(crate) fn mac_intent(from: &Requester, item: &PreparedMac) -> Intent {
    let described = Described::new(from, &item.permit, item.version.to_string()).algorithm(item.key.algorithm);
    let Described { time, caller, action, policy_set, mut details } = described;
    details.signed = Some(sha256_of(&item.message));
    let counts = item.counted.iter().map(|counted| counted.claim).collect();
    Intent { time, caller, resource: item.uid, action, policy_set, counts, details }
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

/// The reservation of a key pair that is to be made. It stays open until the outcome.
pub(crate) fn generation(
    from: &Requester,
    permit: &Permit,
    version: &KeyVersionName,
    uid: Uid,
    algorithm: Algorithm,
) -> Act {
    Described::new(from, permit, version.to_string()).algorithm(algorithm).act(uid, true)
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

/// The service itself registers its first callers: an act of nobody's, and no action of the API.
pub(crate) fn registration_of_callers(rows: &[CallerRow], from: &str) -> Act {
    let names: Vec<String> = rows.iter().map(|caller| format!("callers/{}", caller.id)).collect();
    let message = format!("registered from {from}: {}", names.join(", "));
    of_the_service(None, [0; 32], Details { message: Some(message), ..Details::default() })
}

/// The first policy set comes from the configuration.
pub(crate) fn first_policy_set(hash: &Sha256Hash) -> Act {
    let details = Details {
        resource: Some("policySet".to_owned()),
        message: Some("the first policy set, from the configuration".to_owned()),
        ..Details::default()
    };
    of_the_service(Some(Action::ApplyPolicySet), *hash, details)
}

/// The policy set in force has another hash under this version's schema.
pub(crate) fn same_policy_set(hash: &Sha256Hash) -> Act {
    let details = Details {
        resource: Some("policySet".to_owned()),
        message: Some("the policy set in force, unchanged, read by the schema of another version".to_owned()),
        ..Details::default()
    };
    of_the_service(Some(Action::ApplyPolicySet), *hash, details)
}

/// The service makes a secret, or a key pair, of its own.
pub(crate) fn own_secret(version: &KeyVersionName, algorithm: Algorithm, uid: Uid) -> Act {
    let made = match algorithm.purpose() {
        KeyPurpose::Mac => "a secret of the service's own is made",
        KeyPurpose::Signature => "a key of the service's own is made, which signs the log",
    };
    let details = Details {
        resource: Some(version.to_string()),
        algorithm: Some(algorithm.to_string()),
        message: Some(made.to_owned()),
        ..Details::default()
    };
    Act { resource: uid, opens: true, ..of_the_service(None, [0; 32], details) }
}

/// The same, of the secret of the state, and why the state is sealed with it.
pub(crate) fn state_secret(version: &KeyVersionName, algorithm: Algorithm, uid: Uid, why: &str) -> Act {
    let act = own_secret(version, algorithm, uid);
    let message = Some(format!("a secret is made, and the state is to be sealed with it: {why}"));
    Act { details: Details { message, ..act.details }, ..act }
}

/// The service derives a key from a secret of its own.
pub(crate) fn own_derivation(version: &KeyVersionName, uid: Uid) -> Act {
    let details = Details {
        resource: Some(version.to_string()),
        message: Some("the key under which API keys are hashed is derived".to_owned()),
        ..Details::default()
    };
    Act { resource: uid, ..of_the_service(None, [0; 32], details) }
}

/// The service derives the key that the state is sealed with.
pub(crate) fn own_state_key(version: &KeyVersionName, uid: Uid) -> Act {
    let details = Details {
        resource: Some(version.to_string()),
        message: Some("the key that the state is sealed with is derived".to_owned()),
        ..Details::default()
    };
    Act { resource: uid, ..of_the_service(None, [0; 32], details) }
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

/// The service does not go by the state that it found.
pub(crate) fn state_refused(found: &str) -> Act {
    of_the_service(None, [0; 32], Details { message: Some(found.to_owned()), ..Details::default() })
}

/// The tree of the log is made again from its leaves.
pub(crate) fn tree_remade() -> Act {
    let message = "the tiles of the log's tree are held to its leaves, and made again where they are not theirs";
    of_the_service(None, [0; 32], Details { message: Some(message.to_owned()), ..Details::default() })
}

/// An operator, at the machine itself, lets the service go by it.
pub(crate) fn state_accepted(message: &str) -> Act {
    of_the_service(None, [0; 32], Details { message: Some(message.to_owned()), ..Details::default() })
}

/// A witness has seen another history of the log than the one that goes up to this checkpoint.
pub(crate) fn witness_conflict(witness: &str, forks: bool, seen: Option<u64>, checkpoint: &Checkpoint) -> Act {
    let (origin, size) = (checkpoint.origin(), checkpoint.size());
    let seen = seen.map_or_else(|| "records".to_owned(), |seen| format!("{seen} records"));
    let found = if forks {
        format!("it has cosigned {seen} by this name, which the log of {size} records does not continue")
    } else {
        format!("it has cosigned {seen} by this name, and the log that it was asked to cosign has {size}")
    };
    let message = format!("the witness {witness} has seen another history of the log {origin}: {found}");
    of_the_service(None, [0; 32], Details { message: Some(message), ..Details::default() })
}

/// Details are erased by a rule of the configuration.
pub(crate) fn details_erased(what: Erased, days: NonZeroU16, due: &ToErase) -> Act {
    let rule = match what {
        Erased::Signatures => "signature_details_days",
        Erased::Refusals => "refusal_details_days",
    };
    let erased = due.said(what);
    let message = format!("by rule, {rule} = {days}: {erased}; they are {days} days older than this record, or more");
    of_the_service(None, [0; 32], Details { message: Some(message), ..Details::default() })
}

/// Leaves are archived by a rule of the configuration.
pub(crate) fn leaves_archived(days: NonZeroU16, copied: &Copied) -> Act {
    let ((first, last), tiles) = (copied.range(), copied.tiles());
    let message = format!(
        "by rule, log.archive.after_days = {days}: the leaves of the records {first} to {last}, {tiles} whole tiles of the log, are \
         in the archive and leave the database; they are {days} days older than this record, or more; the root over the \
         first {} records is {}",
        copied.end(),
        Hex::from(*copied.root()),
    );
    of_the_service(None, [0; 32], Details { message: Some(message), ..Details::default() })
}

/// The same of a caller, who is not named: this record keeps its details.
pub(crate) fn details_erased_of(what: Erased, caller: Uid, reason: &str, due: &ToErase) -> Act {
    let erased = due.said(what);
    let message =
        format!("by an operator at the machine, of the caller with the uid {caller}: {erased}; because: {reason}");
    let details = Details { message: Some(message), ..Details::default() };
    Act { resource: caller, ..of_the_service(None, [0; 32], details) }
}

/// What a rule of a key makes the service do to a version.
pub(crate) fn by_rule(action: Option<Action>, version: &KeyVersionName, uid: Uid, why: &str, opens: bool) -> Act {
    Act { opens, ..of_a_rule(action, version.to_string(), uid, why) }
}

/// The same, without a token that would have to be asked.
pub(crate) fn by_rule_on(key: &KeyEntry, number: u32, action: Option<Action>, why: &str) -> Act {
    let uid = key.versions.get(&number).map_or(key.uid, |version| version.uid);
    by_rule(action, &key.name.version(number), uid, why, false)
}

/// The same, to the key itself.
pub(crate) fn key_by_rule(key: &KeyEntry, action: Action, why: &str) -> Act {
    of_a_rule(Some(action), key.name.to_string(), key.uid, why)
}

fn of_a_rule(action: Option<Action>, resource: String, uid: Uid, why: &str) -> Act {
    let message = Some(format!("by a rule of the key: {why}"));
    let details = Details { resource: Some(resource), message, ..Details::default() };
    Act { resource: uid, ..of_the_service(action, [0; 32], details) }
}

/// How the destruction of a version ended.
pub(crate) fn destruction_end(act: u64, version: &KeyVersionName) -> Details {
    let message = Some("destroyed in the token, and looked for there in vain".to_owned());
    let item = ItemDetails { message, ..done(act) };
    Details { resource: Some(version.to_string()), items: vec![item], ..Details::default() }
}

fn of_the_service(action: Option<Action>, policy_set: Sha256Hash, details: Details) -> Act {
    let details = Details { action: action.map(|action| action.to_string()), ..details };
    Act { time: Timestamp::now(), caller: Uid::NONE, resource: Uid::NONE, action, policy_set, details, opens: false }
}

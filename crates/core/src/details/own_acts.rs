//! What the service does of itself, or an operator at the machine lets it do: acts of no caller's, which policy is not asked
//! about.

use std::num::NonZeroU16;

use chancery_audit::archive::Copied;
use chancery_audit::checkpoint::Checkpoint;
use chancery_audit::{Act, Details, Erased, Hex, ToErase};
use chancery_model::{Action, Algorithm, KeyPurpose, KeyVersionName, Sha256Hash, Timestamp, Uid};
use chancery_store::CallerRow;

use crate::state::KeyEntry;

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

/// The same of a caller, who is not named: this record keeps its details.
pub(crate) fn details_erased_of(what: Erased, caller: Uid, reason: &str, due: &ToErase) -> Act {
    let erased = due.said(what);
    let message =
        format!("by an operator at the machine, of the caller with the uid {caller}: {erased}; because: {reason}");
    let details = Details { message: Some(message), ..Details::default() };
    Act { resource: caller, ..of_the_service(None, [0; 32], details) }
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

fn of_the_service(action: Option<Action>, policy_set: Sha256Hash, details: Details) -> Act {
    let details = Details { action: action.map(|action| action.to_string()), ..details };
    Act { time: Timestamp::now(), caller: Uid::NONE, resource: Uid::NONE, action, policy_set, details, opens: false }
}

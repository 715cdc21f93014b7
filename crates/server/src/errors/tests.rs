//! Every error has a code, a reason and a way on; nothing of ours leaks.

use super::*;
use chancery_core::{EvidenceFault, Limited};
use chancery_crypto::CallerKeyError;
use chancery_hsm::{ClearLatchError, HsmErrorKind, HsmFailure, MissingMechanism, Unadoptable};
use chancery_model::{Action, Algorithm, HashAlgorithm, KeyName, KeyState, KeyVersionName, LimitKind, Rate};
use chancery_policy::{PolicyError, PolicyErrors};
use std::collections::HashMap;
use std::time::Duration;
use tonic_types::StatusExt;

fn id(text: &str) -> Id {
    Id::parse("an id", text).unwrap()
}

fn key() -> KeyName {
    "keyRings/payments/keys/jwt".parse().unwrap()
}

fn version() -> KeyVersionName {
    key().version(3)
}

fn device(operation: Action, kind: HsmErrorKind) -> Error {
    let failure = HsmFailure {
        kind,
        function: Some("C_Sign"),
        return_code: Some(0x8000_0005),
        attempts: 2,
        message: "slot 7 of /usr/lib/vendor.so said CKR_VENDOR_DEFINED".to_owned(),
    };
    Error::Device { operation, token: id("main"), failure }
}

fn still_latched(kind: HsmErrorKind) -> Error {
    let Error::Device { token, failure, .. } = device(Action::ClearPinLatch, kind) else { unreachable!() };
    Error::TokenStillLatched { token, why: ClearLatchError::Failed(failure) }
}

fn unvouched(fault: EvidenceFault) -> Error {
    Error::CallerSignature { action: Action::Sign, resource: key().to_string(), fault }
}

/// One of each, with the code and reason that callers rely on.
fn every_error() -> Vec<(Error, Code, &'static str)> {
    let policy_error = PolicyError {
        document: "roles.cedar".to_owned(),
        policy_id: Some("signers".to_owned()),
        line: Some(4),
        column: Some(2),
        message: "no such attribute".to_owned(),
        help: None,
    };
    let missing = MissingMechanism {
        token: id("main"),
        label: "soft".to_owned(),
        algorithm: Algorithm::Ed25519,
        missing: "CKM_EDDSA".to_owned(),
    };
    let device_kinds = [
        (HsmErrorKind::Session, Code::Unavailable, "TOKEN_UNAVAILABLE"),
        (HsmErrorKind::KeyNotFound, Code::FailedPrecondition, "KEY_NOT_IN_TOKEN"),
        (HsmErrorKind::KeyAmbiguous, Code::Internal, "KEY_AMBIGUOUS_IN_TOKEN"),
        (HsmErrorKind::LoginLost, Code::Unavailable, "TOKEN_UNAVAILABLE"),
        (HsmErrorKind::PinLatched, Code::Unavailable, "TOKEN_LATCHED"),
        (HsmErrorKind::Capacity, Code::ResourceExhausted, "TOKEN_AT_CAPACITY"),
        (HsmErrorKind::Overloaded, Code::ResourceExhausted, "OVERLOADED"),
        (HsmErrorKind::Bug, Code::Internal, "INTERNAL"),
        (HsmErrorKind::OutcomeUnknown, Code::Unavailable, "TOKEN_OUTCOME_UNKNOWN"),
        (HsmErrorKind::TokenAbsent, Code::Unavailable, "TOKEN_UNAVAILABLE"),
        (HsmErrorKind::Module, Code::Unavailable, "TOKEN_UNAVAILABLE"),
        (HsmErrorKind::Memory, Code::ResourceExhausted, "TOKEN_AT_CAPACITY"),
        (HsmErrorKind::Configuration, Code::FailedPrecondition, "TOKEN_CANNOT"),
        (HsmErrorKind::InputLength, Code::InvalidArgument, "INVALID_FIELD"),
        (HsmErrorKind::Deadline, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (HsmErrorKind::WorkerLost, Code::Unavailable, "TOKEN_OUTCOME_UNKNOWN"),
        (HsmErrorKind::WrongSignature, Code::Internal, "TOKEN_SIGNATURE_WRONG"),
        (HsmErrorKind::Stopping, Code::Unavailable, "TOKEN_UNAVAILABLE"),
    ];
    assert_eq!(device_kinds.map(|(kind, ..)| kind), HsmErrorKind::ALL);
    let mut all = vec![
        (
            Error::AccessDenied { action: Action::Sign, resource: key().to_string() },
            Code::PermissionDenied,
            "ACCESS_DENIED",
        ),
        (unvouched(EvidenceFault::Required), Code::PermissionDenied, "CALLER_SIGNATURE_REQUIRED"),
        (unvouched(EvidenceFault::NoCertificate), Code::PermissionDenied, "CALLER_SIGNATURE_OTHER_CERTIFICATE"),
        (unvouched(EvidenceFault::OtherCertificate), Code::PermissionDenied, "CALLER_SIGNATURE_OTHER_CERTIFICATE"),
        (
            unvouched(EvidenceFault::Unusable(CallerKeyError::Unsupported)),
            Code::PermissionDenied,
            "CALLER_SIGNATURE_INVALID",
        ),
        (
            unvouched(EvidenceFault::Invalid {
                audience: "chancery.example".to_owned(),
                hash: Some(HashAlgorithm::Sha384),
                algorithm: Algorithm::Ed25519,
            }),
            Code::PermissionDenied,
            "CALLER_SIGNATURE_INVALID",
        ),
        (unvouched(EvidenceFault::Stale), Code::PermissionDenied, "CALLER_SIGNATURE_STALE"),
        (unvouched(EvidenceFault::Replayed), Code::PermissionDenied, "CALLER_SIGNATURE_REPLAYED"),
        (Error::NoAudience, Code::FailedPrecondition, "CALLER_SIGNATURES_NOT_TAKEN"),
        (
            Error::CallerSignaturesNotYet { retry_after: Duration::from_secs(3) },
            Code::Unavailable,
            "CALLER_SIGNATURES_NOT_YET",
        ),
        (Error::TooManyCallerSignatures, Code::ResourceExhausted, "CALLER_SIGNATURES_EXHAUSTED"),
        (Error::CallerSuspended { caller: id("shop") }, Code::PermissionDenied, "CALLER_SUSPENDED"),
        (Error::CredentialRefused { caller: id("shop") }, Code::Unauthenticated, "CREDENTIAL_REFUSED"),
        (Error::ApiKeyShown { name: "callers/shop/apiKeys/a".to_owned() }, Code::AlreadyExists, "API_KEY_SHOWN"),
        (Error::ApiKeyOver { name: "callers/shop/apiKeys/a".to_owned() }, Code::FailedPrecondition, "API_KEY_OVER"),
        (Error::TooManyApiKeys { caller: id("shop"), limit: 32 }, Code::FailedPrecondition, "TOO_MANY_API_KEYS"),
        (Error::NoSystemRing, Code::FailedPrecondition, "SYSTEM_RING_MISSING"),
        (Error::LogGap, Code::FailedPrecondition, "LOG_INCOMPLETE"),
        (Error::LogDamaged { what: "tile/0/000".to_owned() }, Code::DataLoss, "LOG_DAMAGED"),
        (Error::LogNotSigned, Code::FailedPrecondition, "LOG_NOT_SIGNED"),
        (Error::NoCheckpoint, Code::Unavailable, "CHECKPOINT_UNAVAILABLE"),
        (Error::ArchiveUnreadable { index: 7, why: String::new() }, Code::Unavailable, "ARCHIVE_UNAVAILABLE"),
        (Error::BeyondLog { what: "record 7".to_owned(), records: 7 }, Code::OutOfRange, "BEYOND_RECORD"),
        (Error::CallerExists { name: "callers/shop".to_owned() }, Code::AlreadyExists, "CALLER_ALREADY_EXISTS"),
        (Error::CallerLockout { what: "apply a policy set" }, Code::FailedPrecondition, "CALLER_CHANGE_LOCKS_OUT"),
        (
            Error::InvalidField { field: "input.digest".to_owned(), description: "must have 32 bytes".to_owned() },
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            Error::WrongPurpose { key: key(), algorithm: Algorithm::AesCmac, action: Action::Sign },
            Code::FailedPrecondition,
            "KEY_PURPOSE_MISMATCH",
        ),
        (
            Error::KeyRingFrozen { ring: key().ring_name(), action: Action::Sign },
            Code::FailedPrecondition,
            "KEY_RING_FROZEN",
        ),
        (
            Error::NotAdoptable { token: id("main"), why: Unadoptable::NotFound },
            Code::FailedPrecondition,
            "KEY_NOT_ADOPTABLE",
        ),
        (Error::KeyExtractable { ring: key().ring_name() }, Code::FailedPrecondition, "KEY_EXTRACTABLE"),
        (
            Error::ObjectTaken { token: id("main"), object: "0102".parse().unwrap() },
            Code::AlreadyExists,
            "TOKEN_OBJECT_TAKEN",
        ),
        (Error::DigestNotAllowed { key: key() }, Code::FailedPrecondition, "DIGEST_NOT_ALLOWED"),
        (
            Error::NotInJose { key: key(), algorithm: Algorithm::EcdsaSecp256k1Keccak256 },
            Code::FailedPrecondition,
            "ALGORITHM_NOT_IN_JOSE",
        ),
        (
            Error::NotActive { version: version(), state: KeyState::Suspended },
            Code::FailedPrecondition,
            "KEY_VERSION_NOT_ACTIVE",
        ),
        (Error::NoPrimary { key: key() }, Code::FailedPrecondition, "KEY_HAS_NO_PRIMARY_VERSION"),
        (
            Error::WrongState { version: version(), state: KeyState::Active, action: Action::ResumeKeyVersion },
            Code::FailedPrecondition,
            "KEY_VERSION_STATE",
        ),
        (Error::AlreadyExists { name: key().to_string() }, Code::AlreadyExists, "KEY_ALREADY_EXISTS"),
        (Error::NotFound { name: "tokens/other".to_owned() }, Code::NotFound, "RESOURCE_NOT_FOUND"),
        (Error::BeyondRecord { start_index: 9, next_index: 4 }, Code::OutOfRange, "BEYOND_RECORD"),
        (Error::RequestIdReused { request_id: "4f8c".to_owned() }, Code::InvalidArgument, "REQUEST_ID_REUSED"),
        (Error::EtagMismatch { name: key().to_string() }, Code::Aborted, "ETAG_MISMATCH"),
        (Error::AlgorithmNotOffered(missing), Code::FailedPrecondition, "ALGORITHM_NOT_OFFERED"),
        (
            Error::PolicyInvalid(PolicyErrors { errors: vec![policy_error] }),
            Code::InvalidArgument,
            "POLICY_SET_INVALID",
        ),
        (Error::PolicyLockout, Code::FailedPrecondition, "POLICY_SET_LOCKS_OUT"),
        (usage_limit(Limited::Key(key()), LimitKind::Daily), Code::ResourceExhausted, "KEY_USAGE_LIMIT"),
        (usage_limit(Limited::Key(key()), LimitKind::Total), Code::ResourceExhausted, "KEY_USAGE_LIMIT"),
        (usage_limit(Limited::Caller(id("till")), LimitKind::Daily), Code::ResourceExhausted, "CALLER_USAGE_LIMIT"),
        (usage_limit(Limited::Caller(id("till")), LimitKind::Total), Code::ResourceExhausted, "CALLER_USAGE_LIMIT"),
        (rate_limit(Limited::Key(key()), 1), Code::ResourceExhausted, "KEY_RATE_LIMIT"),
        (rate_limit(Limited::Caller(id("till")), 21), Code::ResourceExhausted, "CALLER_RATE_LIMIT"),
        (concurrency_limit(1), Code::ResourceExhausted, "KEY_CONCURRENCY_LIMIT"),
        (concurrency_limit(9), Code::ResourceExhausted, "KEY_CONCURRENCY_LIMIT"),
        (Error::StateChanging, Code::Unavailable, "STATE_CHANGING"),
        (Error::StateUnchecked, Code::Unavailable, "STATE_UNCHECKED"),
        (Error::Overloaded, Code::ResourceExhausted, "OVERLOADED"),
        (
            Error::RecordClosed { reason: "/var/lib/chancery.db: disk I/O error".to_owned() },
            Code::Unavailable,
            "RECORD_UNAVAILABLE",
        ),
        (Error::TokenNotLatched { token: id("main") }, Code::FailedPrecondition, "TOKEN_NOT_LATCHED"),
        (still_latched(HsmErrorKind::PinLatched), Code::FailedPrecondition, "TOKEN_LATCHED"),
        (still_latched(HsmErrorKind::TokenAbsent), Code::FailedPrecondition, "TOKEN_LATCHED"),
        (Error::DeadlineExceeded { record_index: None }, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (Error::DeadlineExceeded { record_index: Some(7) }, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (Error::Internal { what: "/var/lib/chancery.db is odd".to_owned() }, Code::Internal, "INTERNAL"),
        (device(Action::CreateKey, HsmErrorKind::OutcomeUnknown), Code::Aborted, "TOKEN_OUTCOME_UNKNOWN"),
        (device(Action::RotateKey, HsmErrorKind::WorkerLost), Code::Aborted, "TOKEN_OUTCOME_UNKNOWN"),
    ];
    all.extend(device_kinds.map(|(kind, code, reason)| (device(Action::Sign, kind), code, reason)));
    all
}

fn usage_limit(of: Limited, kind: LimitKind) -> Error {
    let retry_after = (kind == LimitKind::Daily).then_some(Duration::from_secs(3600));
    Error::UsageLimit { of, kind, limit: 5, retry_after }
}

fn rate_limit(of: Limited, uses: u32) -> Error {
    let retry_after = (uses <= 20).then_some(Duration::from_millis(250));
    Error::RateLimit { of, rate: Rate { per_second: 4, burst: 20 }, uses, retry_after }
}

fn concurrency_limit(uses: u32) -> Error {
    Error::ConcurrencyLimit { key: key(), limit: 8, uses }
}

#[test]
fn a_limit_says_whose_it_is_which_one_and_how_long_to_wait() {
    let till = || Limited::Caller(id("till"));
    let cases = [
        (usage_limit(till(), LimitKind::Daily), "callers/till", "max_daily_signatures", Some(3_600_000)),
        (usage_limit(Limited::Key(key()), LimitKind::Total), "keyRings/r/keys/k", "max_signatures", None),
        (rate_limit(till(), 1), "callers/till", "max_uses_per_second", Some(250)),
        (rate_limit(till(), 21), "callers/till", "max_burst", None),
        (concurrency_limit(8), "keyRings/r/keys/k", "max_concurrent_uses", Some(100)),
        (concurrency_limit(9), "keyRings/r/keys/k", "max_concurrent_uses", None),
    ];
    for (error, resource, limit, wait) in cases {
        let status = status(&error);
        let info = status.get_details_error_info().unwrap();
        let resource = if resource.starts_with("keyRings") { key().to_string() } else { resource.to_owned() };
        assert_eq!((info.metadata["resource"].as_str(), info.metadata["limit"].as_str()), (resource.as_str(), limit));
        let retry = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(retry, wait.map(Duration::from_millis), "{error}");
    }
}

#[test]
fn each_error_has_its_code_its_reason_and_a_way_on() {
    for (error, code, reason) in every_error() {
        let status = status(&error);
        assert_eq!(status.code(), code, "{error}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("chancery", reason), "{error}");
        let helpful = status.message().contains(';') || reason == "INVALID_FIELD";
        assert!(helpful, "{:?} says what happened, not what to do", status.message());
    }
}

#[test]
fn no_return_code_path_or_detail_of_ours_reaches_a_caller() {
    for (error, ..) in every_error() {
        let status = status(&error);
        let told = format!("{} {:?}", status.message(), status.get_error_details());
        for secret in ["CKR_", "0x", "2147483653", "C_Sign", "/usr/", "/var/", "slot 7"] {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
    }
}

#[test]
fn only_what_a_retry_may_cure_says_so() {
    for (error, ..) in every_error() {
        let status = status(&error);
        if status.get_details_retry_info().is_some() {
            assert!(matches!(status.code(), Code::Unavailable | Code::ResourceExhausted), "{error}");
        }
    }
    assert!(status(&Error::Overloaded).get_details_retry_info().is_some());
    assert!(status(&Error::StateChanging).get_details_retry_info().is_some());
    assert!(status(&Error::RecordClosed { reason: String::new() }).get_details_retry_info().is_none());
}

#[test]
fn resource_action_and_record_index_are_there_for_programs() {
    let denied = Error::AccessDenied { action: Action::Sign, resource: key().to_string() };
    let info = status(&denied).get_details_error_info().unwrap();
    assert_eq!(info.metadata["action"], "Sign");
    assert_eq!(info.metadata["resource"], "keyRings/payments/keys/jwt");
    let late = status(&Error::DeadlineExceeded { record_index: Some(7) }).get_details_error_info().unwrap();
    assert_eq!(late.metadata["recordIndex"], "7");
}

#[test]
fn a_violation_names_its_field() {
    let error = Error::InvalidField { field: "input.digest".to_owned(), description: "must have 32 bytes".to_owned() };
    let violations = status(&error).get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(
        (violations[0].field.as_str(), violations[0].description.as_str()),
        ("input.digest", "must have 32 bytes")
    );
}

/// Reason, metadata, violations (field, description) and delay, as a caller reads them.
type Told = (String, HashMap<String, String>, Vec<(String, String)>, Option<Duration>);

fn told(status: &Status) -> Told {
    let info = status.get_details_error_info().unwrap();
    let violations = status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
    let violations = violations.into_iter().map(|violation| (violation.field, violation.description)).collect();
    (info.reason, info.metadata, violations, status.get_details_retry_info().and_then(|retry| retry.retry_delay))
}

#[test]
fn an_items_status_is_what_the_call_alone_would_have_failed_with() {
    for (error, code, _) in every_error() {
        let item = refusal(&error).into_item_status();
        let whole = status(&error);
        assert_eq!(item.code, i32::from(code));
        assert_eq!(item.message, whole.message());
        let types: Vec<&str> = item.details.iter().map(|any| any.type_url.as_str()).collect();
        assert!(types.contains(&"type.googleapis.com/google.rpc.ErrorInfo"), "{types:?}");
        // On the wire an item's status is a google.rpc.Status, and its helpers read it.
        let read = Status::with_details(code, item.message.clone(), prost::Message::encode_to_vec(&item).into());
        assert_eq!(told(&read), told(&whole));
    }
}

#[test]
fn unidentified_callers_are_told_why() {
    let status = unauthenticated(&Unidentified::Expired);
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.get_details_error_info().unwrap().reason, "CERTIFICATE_EXPIRED");
    assert!(status.message().contains("renew"));
}

#[test]
fn a_policy_set_with_many_errors_is_refused_with_the_first_twenty() {
    let refused = |count: u32| {
        let error = |line| PolicyError {
            document: "a.cedar".to_owned(),
            policy_id: None,
            line: Some(line),
            column: Some(1),
            message: "no @id".to_owned(),
            help: None,
        };
        let errors = PolicyErrors { errors: (1..=count).map(error).collect() };
        let status = status(&Error::PolicyInvalid(errors));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        (status.message().to_owned(), violations.into_iter().map(|v| v.description).collect::<Vec<_>>())
    };
    let (message, violations) = refused(20);
    assert!(message.contains("a.cedar:20:1") && !message.contains("more"), "{message}");
    assert_eq!(violations.len(), 20);
    let (message, violations) = refused(500);
    assert!(
        message.contains("for 500 reasons") && message.contains("\n  a.cedar:20:1: no @id\n  and 480 more;"),
        "{message}"
    );
    assert!(!message.contains("a.cedar:21:1"), "{message}");
    assert_eq!(violations.len(), 21);
    assert_eq!(violations[20], "and 480 more");
}

#[test]
fn the_log_is_told_once_of_items_that_failed_in_the_same_way() {
    let failed = |token: &str, kind| Error::Device {
        operation: Action::Sign,
        token: id(token),
        failure: HsmFailure { kind, function: None, return_code: None, attempts: 0, message: "so it was".to_owned() },
    };
    let fault = |what: &str| Error::Internal { what: what.to_owned() };
    let full = HsmErrorKind::Overloaded;
    let items = [
        failed("main", full),
        Error::AccessDenied { action: Action::Sign, resource: key().to_string() },
        failed("main", full),
        failed("main", HsmErrorKind::WorkerLost),
        failed("second", full),
        failed("main", full),
        fault("this"),
        fault("that"),
        fault("this"),
    ];
    let kinds = alike(items.iter());
    let device = |(error, count): &(&Error, usize)| match error {
        Error::Device { token, failure, .. } => Some((token.to_string(), failure.kind, *count)),
        _ => None,
    };
    let of_tokens: Vec<_> = kinds.iter().filter_map(device).collect();
    let expected = [("main", full, 3), ("main", HsmErrorKind::WorkerLost, 1), ("second", full, 1)];
    assert_eq!(of_tokens, expected.map(|(token, kind, count)| (token.to_owned(), kind, count)));
    let faults: Vec<_> =
        kinds.iter().filter(|(error, _)| matches!(error, Error::Internal { .. })).map(|it| it.1).collect();
    assert_eq!(faults, [2, 1]);
}

#[test]
fn whose_state_does_not_sign_is_not_sent_to_the_name_that_stands_for_it() {
    for state in [KeyState::Deactivated, KeyState::Suspended, KeyState::Compromised, KeyState::DestroyScheduled] {
        let message = refusal(&Error::NotActive { version: version(), state }).message;
        assert!(!message.contains("key's name") && message.contains("rotate the key"), "{message}");
    }
}

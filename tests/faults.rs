//! The table of return codes, made to happen: each code in the functions on the way of a signature, a MAC and a new key,
//! once, on each tenth call, and always, against a real service under load.
//!
//! Asserted each time: the answer, at most one retry, recovery, no wrong signature, a whole record, and that a caller of
//! another token does not notice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use chancery_api::v1::{self, TokenHealth};
use chancery_client::ClientError;
use chancery_pkcs11_fault::{Choice, Crash, Find, Hang, Rule, Then};
use chancery_testkit::signal;
use chancery_tests::faults::{Faulty, clear_pin_latch};
use chancery_tests::load::{Call, Record, create_key, details, failures, token, try_create_key, until};
use tonic::Code;

/// From the end of a fault until signing works again, besides the start of a worker.
const RECOVERY: Duration = Duration::from_secs(5);
/// What the start of a worker may take on a machine that is busy with other tests.
const WORKER_START: Duration = Duration::from_secs(3);
/// A rule's name in the log.
const FAULT: &str = "fault";
const UNKNOWN: Answer = (Code::Unavailable, "TOKEN_OUTCOME_UNKNOWN");
const UNAVAILABLE: Answer = (Code::Unavailable, "TOKEN_UNAVAILABLE");

/// What a caller is told.
type Answer = (Code, &'static str);

/// A row of the table of return codes.
struct Row {
    codes: &'static [&'static str],
    /// Whether a signature is asked for once more.
    retried: bool,
    /// What a caller of Sign is told in the end.
    sign: Answer,
    /// What a caller of CreateKey is told when C_GenerateKeyPair answers so.
    generate: Answer,
}

const GENERATE_UNKNOWN: Answer = (Code::Aborted, "TOKEN_OUTCOME_UNKNOWN");
const FULL: Answer = (Code::ResourceExhausted, "TOKEN_AT_CAPACITY");
const CANNOT: Answer = (Code::FailedPrecondition, "TOKEN_CANNOT");
const BUG: Answer = (Code::Internal, "INTERNAL");
const WRONG: Answer = (Code::Internal, "TOKEN_SIGNATURE_WRONG");
const LENGTH: Answer = (Code::InvalidArgument, "INVALID_FIELD");

const fn row(codes: &'static [&'static str], retried: bool, sign: Answer, generate: Answer) -> Row {
    Row { codes, retried, sign, generate }
}

/// The table, without the codes of a PIN, which have tests of their own, and without the verdicts of C_Verify.
const TABLE: &[Row] = &[
    row(&["CKR_SESSION_HANDLE_INVALID", "CKR_SESSION_CLOSED"], true, UNAVAILABLE, GENERATE_UNKNOWN),
    // The key is found again each time, and used once more.
    row(
        &["CKR_KEY_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID"],
        true,
        UNAVAILABLE,
        (Code::FailedPrecondition, "KEY_NOT_IN_TOKEN"),
    ),
    row(&["CKR_USER_NOT_LOGGED_IN"], true, UNAVAILABLE, GENERATE_UNKNOWN),
    row(&["CKR_SESSION_COUNT"], false, FULL, FULL),
    row(&["CKR_OPERATION_ACTIVE", "CKR_OPERATION_NOT_INITIALIZED"], true, BUG, BUG),
    row(
        &["CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "0x80001234"],
        true,
        UNKNOWN,
        GENERATE_UNKNOWN,
    ),
    row(&["CKR_DEVICE_REMOVED", "CKR_TOKEN_NOT_PRESENT"], false, UNAVAILABLE, UNAVAILABLE),
    row(&["CKR_CRYPTOKI_NOT_INITIALIZED"], true, UNAVAILABLE, GENERATE_UNKNOWN),
    row(&["CKR_DEVICE_MEMORY", "CKR_HOST_MEMORY"], false, FULL, GENERATE_UNKNOWN),
    row(
        &["CKR_MECHANISM_INVALID", "CKR_KEY_TYPE_INCONSISTENT", "CKR_KEY_FUNCTION_NOT_PERMITTED"],
        false,
        CANNOT,
        CANNOT,
    ),
    row(&["CKR_DATA_LEN_RANGE"], false, LENGTH, LENGTH),
    row(
        &[
            "CKR_TEMPLATE_INCONSISTENT",
            "CKR_ATTRIBUTE_VALUE_INVALID",
            "CKR_ATTRIBUTE_TYPE_INVALID",
            "CKR_ARGUMENTS_BAD",
        ],
        false,
        BUG,
        BUG,
    ),
];

/// The verdicts of C_Verify, which are results and not failures: the token says that its own MAC is wrong.
static VERDICTS: Row = row(&["CKR_SIGNATURE_INVALID", "CKR_SIGNATURE_LEN_RANGE"], true, WRONG, WRONG);

/// Whether all is asked for (`CHANCERY_FAULTS=all`, minutes), or what the tests of every day make of it: the first code of
/// each row in all ways, the others of it in the most telling one.
fn thorough() -> bool {
    std::env::var("CHANCERY_FAULTS").is_ok_and(|which| which == "all")
}

/// Codes that cost the worker. One after the other on workers that lived for less than a second, they make the next one wait
/// for up to five, so the tests of every day have only one of them in each place.
const COSTLY: [&str; 5] = [
    "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
    "CKR_DEVICE_MEMORY",
    "CKR_HOST_MEMORY",
];

fn codes() -> impl Iterator<Item = (&'static Row, &'static str)> {
    TABLE.iter().flat_map(|row| row.codes.iter().map(move |code| (row, *code)))
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Often {
    Once,
    Tenth,
    Always,
}

impl Often {
    const ALL: [Self; 3] = [Self::Once, Self::Tenth, Self::Always];

    fn rule(self, rule: Rule) -> Rule {
        match self {
            Self::Once => rule.times(1),
            Self::Tenth => rule.when(|when| when.probability = Some(0.1)),
            Self::Always => rule,
        }
    }

    /// Calls that are made under the fault. Of forty, with the same draw each time, some meet it.
    const fn calls(self) -> usize {
        match self {
            Self::Once | Self::Always => 10,
            Self::Tenth => 40,
        }
    }
}

#[track_caller]
fn answer(failure: &ClientError) -> (Code, &str) {
    let told = failure.to_string();
    assert!(!told.contains("CKR_") && !told.contains("C_Sign"), "a return code never reaches a caller: {told}");
    match (failure.code(), failure.reason()) {
        (Some(code), Some(reason)) => (code, reason),
        _ => panic!("no refusal of the service: {failure:?}"),
    }
}

#[track_caller]
fn assert_answers(case: &str, calls: &[Call], allowed: &[Answer]) {
    for failure in failures(calls) {
        assert!(allowed.contains(&answer(failure)), "{case}: {failure:?} is none of {allowed:?}");
    }
}

fn failed(calls: &[Call]) -> usize {
    failures(calls).count()
}

/// The record of all these calls is whole: as many signatures as were handed out, each unknown outcome said to be so, no
/// token asked a third time.
async fn assert_recorded(faulty: &Faulty, calls: &[Call]) {
    let record = Record::read_settled(&faulty.operator).await;
    record.assert_holds(calls);
    let unknown = failures(calls).filter(|failure| failure.reason() == Some("TOKEN_OUTCOME_UNKNOWN")).count();
    assert_eq!(record.ended("DONE").len(), calls.len() - failed(calls), "signatures on the record");
    assert_eq!(record.ended("UNKNOWN").len(), unknown, "unknown outcomes on the record");
    assert_eq!(record.ended("FAILED").len(), failed(calls) - unknown, "failures on the record");
    for outcome in record.of(v1::RecordKind::Outcome) {
        for item in details(outcome)["items"].as_array().unwrap() {
            assert!(item["attempts"].as_u64().is_none_or(|attempts| attempts <= 2), "asked a third time: {item}");
        }
    }
}

#[track_caller]
fn assert_recovered(case: &str, took: Duration) {
    assert!(took < RECOVERY + WORKER_START, "{case}: signing again only after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_return_code_on_the_way_of_a_signature_is_answered_retried_once_and_survived() {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    let mut calls = Vec::new();
    let mut slowest = (Duration::ZERO, String::new());
    for (row, code) in codes() {
        for function in ["C_SignInit", "C_Sign"] {
            for often in Often::ALL {
                let every_day = row.codes[0] == code || (function == "C_Sign" && often != Often::Tenth);
                if !every_day && !thorough() {
                    continue;
                }
                let case = format!("{code} of {function}, {often:?}");
                faulty.faults.clear_log().unwrap();
                faulty.rules(&[often.rule(Rule::returning(FAULT, function, code))]);
                let burst = faulty.burst(&key, often.calls()).await;
                let (recovered, after) = faulty.recover(&key).await;
                let happened = faulty.faults.count(FAULT).unwrap();
                // Where a worker was replaced for the fault, another attempt may have been lost with it.
                assert_answers(&case, &burst, &[row.sign, UNKNOWN]);
                assert!((1..=2 * burst.len()).contains(&happened), "{case}: {happened} for {} calls", burst.len());
                match (often, row.retried) {
                    (Often::Once, true) => assert_eq!(failed(&burst), 0, "{case}: {burst:?}"),
                    (Often::Once, false) => {
                        assert_eq!((failed(&burst), happened), (1, 1), "{case}");
                        assert_answers(&case, &burst, &[row.sign]);
                    }
                    (Often::Tenth, _) => assert!(failed(&burst) < burst.len(), "{case}: nothing was signed"),
                    (Often::Always, retried) => {
                        assert_eq!(failed(&burst), burst.len(), "{case}");
                        if !retried {
                            assert!(happened <= burst.len(), "{case}: asked again, {happened} times in all");
                        }
                        let exactly = failures(&burst).filter(|failure| answer(failure) == row.sign).count();
                        assert!(exactly > 0, "{case}: nobody was told {:?}", row.sign);
                    }
                }
                assert_recovered(&case, recovered);
                slowest = slowest.max((recovered, case));
                public.assert_verifies(&burst);
                calls.extend(burst.into_iter().chain(after));
            }
        }
    }
    println!("slowest recovery: {slowest:?}");
    public.assert_verifies(&calls);
    calls.extend(bystander.assert_unaffected().await);
    assert_recorded(&faulty, &calls).await;
}

/// What a caller is told when a step that has nothing to do with his key or his input fails so.
fn of_the_token(row: &Row) -> Answer {
    if row.sign == LENGTH { UNAVAILABLE } else { row.sign }
}

/// What happens when what mends a session or a handle fails, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_mends_a_session_or_a_handle_may_fail_as_well() {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    let mut calls = Vec::new();
    let lost = Rule::new("lost", Then::CloseSessions).on("C_SignInit").when(|when| when.every = Some(3));
    let stale = Rule::returning("stale", "C_SignInit", "CKR_KEY_HANDLE_INVALID");
    let firsts = TABLE.iter().map(|row| (row, row.codes[0]));
    for (row, code) in firsts {
        for (first, functions) in [
            (&lost, ["C_OpenSession"].as_slice()),
            (&lost, &["C_Login"]),
            (&stale, &["C_FindObjectsInit"]),
            (&stale, &["C_FindObjects"]),
            (&lost, &["C_GetAttributeValue"]),
        ] {
            for often in [Often::Once, Often::Always] {
                let telling = ["C_OpenSession", "C_FindObjects"].contains(&functions[0]);
                if often == Often::Always && !telling && !thorough() {
                    continue;
                }
                let case = format!("{code} of {functions:?} after {}, {often:?}", first.id);
                faulty.faults.clear_log().unwrap();
                faulty.rules(&[
                    if often == Often::Once { first.clone().times(1) } else { first.clone() },
                    often.rule(Rule::returning(FAULT, "C_OpenSession", code).on_each(functions)),
                ]);
                let burst = faulty.burst(&key, 10).await;
                let (recovered, after) = faulty.recover(&key).await;
                // What was lost first, what failed then, and an attempt that was lost with the worker.
                assert_answers(&case, &burst, &[of_the_token(row), UNAVAILABLE, UNKNOWN]);
                assert!(faulty.faults.count(&first.id).unwrap() > 0, "{case}");
                assert_recovered(&case, recovered);
                public.assert_verifies(&burst);
                calls.extend(burst.into_iter().chain(after));
            }
        }
    }
    calls.extend(bystander.assert_unaffected().await);
    assert_recorded(&faulty, &calls).await;
}

/// The faults that no return code tells of.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_lies_lost_sessions_and_absence_release_nothing_wrong_and_pass() {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let (_other, _) = faulty.key("other").await;
    let bystander = faulty.bystander().await;
    let mut calls = Vec::new();
    let ambiguous = (Code::Internal, "KEY_AMBIGUOUS_IN_TOKEN");
    let stale = Rule::returning("stale", "C_SignInit", "CKR_KEY_HANDLE_INVALID");
    let cases: [(&str, Vec<Rule>, &[Answer], bool); 13] = [
        ("a crash", vec![Rule::new(FAULT, Then::Crash(Crash::Segv)).on("C_Sign").times(1)], &[], true),
        ("an abort", vec![Rule::new(FAULT, Then::Crash(Crash::Abort)).on("C_SignInit").times(1)], &[], true),
        ("a bit flipped once", vec![Rule::new(FAULT, Then::FlipBit(9)).times(1)], &[], true),
        ("a bit flipped always", vec![Rule::new(FAULT, Then::FlipBit(9))], &[WRONG], false),
        ("another key once", vec![Rule::new(FAULT, Then::OtherKey(Choice::Any)).times(1)], &[], true),
        ("another key always", vec![Rule::new(FAULT, Then::OtherKey(Choice::Any))], &[WRONG], false),
        ("the same nonce", vec![Rule::new(FAULT, Then::RepeatNonce)], &[WRONG], true),
        ("sessions closed once", vec![Rule::new(FAULT, Then::CloseSessions).on("C_SignInit").times(1)], &[], true),
        ("logged out once", vec![Rule::new(FAULT, Then::Logout).on("C_SignInit").times(1)], &[], true),
        // Again and again while it is mended, which may cost the worker.
        (
            "sessions closed now and then",
            vec![Rule::new(FAULT, Then::CloseSessions).on("C_SignInit").when(|when| when.every = Some(7))],
            &[UNAVAILABLE, UNKNOWN],
            true,
        ),
        (
            "logged out now and then",
            vec![Rule::new(FAULT, Then::Logout).on("C_SignInit").when(|when| when.every = Some(7))],
            &[UNAVAILABLE, UNKNOWN],
            true,
        ),
        ("a key found twice", vec![stale, Rule::new(FAULT, Then::Find(Find::Duplicate))], &[ambiguous], false),
        ("a token away", vec![Rule::new(FAULT, Then::Absent)], &[UNAVAILABLE, UNKNOWN], false),
    ];
    for (case, rules, answers, some_work) in cases {
        faulty.faults.clear_log().unwrap();
        faulty.rules(&rules);
        let burst = faulty.burst(&key, 20).await;
        let (recovered, after) = faulty.recover(&key).await;
        assert!(faulty.faults.count(FAULT).unwrap() > 0, "{case}: it did not happen");
        assert_answers(case, &burst, answers);
        assert_eq!(failed(&burst) < burst.len(), some_work, "{case}: {} of {} failed", failed(&burst), burst.len());
        assert_recovered(case, recovered);
        public.assert_verifies(&burst);
        calls.extend(burst.into_iter().chain(after));
    }
    calls.extend(bystander.assert_unaffected().await);
    assert_recorded(&faulty, &calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_holds_its_thread_alone_until_the_worker_is_replaced() {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    let before = token(&faulty.operator).await.worker_pid;
    faulty.rules(&[Rule::new(FAULT, Then::Hang(Hang::ForEver)).on("C_Sign").times(1)]);
    let options = faulty.chancery.connect_options(&faulty.chancery.caller_identity());
    let hasty = chancery_client::ConnectOptions { request_timeout: Duration::from_millis(800), ..options };
    let hasty = chancery_client::Client::connect(hasty).await.unwrap();
    let began = Instant::now();
    let failure = chancery_tests::load::sign(&hasty, &key, "it hangs").await.unwrap_err();
    let late = matches!(failure, ClientError::TimedOut { .. }) || failure.code() == Some(Code::DeadlineExceeded);
    assert!(late && began.elapsed() < Duration::from_secs(2), "{failure:?} after {:?}", began.elapsed());
    assert_eq!(faulty.faults.count(FAULT).unwrap(), 1);
    let burst = faulty.burst(&key, 20).await;
    assert_eq!(failed(&burst), 0, "{burst:?}");
    public.assert_verifies(&burst);
    until("the worker is replaced", async || {
        let now = token(&faulty.operator).await;
        (now.worker_pid != 0 && now.worker_pid != before && now.health() == TokenHealth::Up).then_some(())
    })
    .await;
    let (recovered, _) = faulty.recover(&key).await;
    assert_recovered("a hung call", recovered);
    bystander.assert_unaffected().await;
}

/// What a new key is asked for: a pair, and a secret.
const KINDS: [(&str, v1::Algorithm); 2] =
    [("C_GenerateKeyPair", v1::Algorithm::EcdsaP256Sha256), ("C_GenerateKey", v1::Algorithm::HmacSha256)];

/// Waits until no key is reserved and unsettled, then compares the token's files with what the service knows.
async fn assert_no_orphans(faulty: &Faulty, case: &str) {
    let keys = until(&format!("{case}: each key is settled"), async || {
        let keys = faulty.keys().await;
        keys.values().all(|objects| *objects != usize::MAX).then_some(keys)
    })
    .await;
    if let Some(objects) = faulty.objects_in_token() {
        let known: usize = keys.values().sum();
        assert_eq!(objects, known, "{case}: key objects in the token, and those that are on the record");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_fails_leaves_a_recorded_key_or_none() {
    let faulty = Faulty::start().await;
    let (key, _) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    let mut made = 0;
    for (row, code) in codes() {
        for (function, algorithm) in KINDS {
            for after in [false, true] {
                let every_day = if COSTLY.contains(&code) {
                    row.codes[0] == code && function == "C_GenerateKeyPair" && after
                } else {
                    row.codes[0] == code || (function == "C_GenerateKeyPair" && after)
                };
                if !every_day && !thorough() {
                    continue;
                }
                made += 1;
                let case =
                    format!("{code} of {function}, {}", if after { "and the key is made" } else { "and no key" });
                let rule = Rule::returning(FAULT, function, code).times(1);
                faulty.faults.clear_log().unwrap();
                faulty.rules(&[if after { rule.after_the_call() } else { rule }]);
                let refused = try_create_key(&faulty.operator, &format!("g{made}"), algorithm).await.unwrap_err();
                assert_eq!(answer(&refused), row.generate, "{case}");
                assert_eq!(faulty.faults.count(FAULT).unwrap(), 1, "{case}: never asked for twice");
                assert_no_orphans(&faulty, &case).await;
            }
        }
    }
    let (recovered, _) = faulty.recover(&key).await;
    assert_recovered("generation", recovered);
    bystander.assert_unaffected().await;
    assert_acts_ended(&faulty).await;
}

/// What is asked of the token beside the generation itself, before and after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_before_and_after_a_generation_may_fail_as_well() {
    let faulty = Faulty::start().await;
    let (key, _) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    let mut made = 0;
    for row in TABLE {
        let code = row.codes[0];
        for function in ["C_FindObjectsInit", "C_FindObjects", "C_GetAttributeValue", "C_SignInit", "C_Sign"] {
            if COSTLY.contains(&code) && function != "C_GetAttributeValue" && !thorough() {
                continue;
            }
            made += 1;
            let case = format!("{code} of {function}, once");
            faulty.faults.clear_log().unwrap();
            faulty.rules(&[Rule::returning(FAULT, function, code).times(1)]);
            let id = format!("g{made}");
            let end = try_create_key(&faulty.operator, &id, v1::Algorithm::EcdsaP256Sha256).await;
            assert_eq!(faulty.faults.count(FAULT).unwrap(), 1, "{case}");
            if let Err(refused) = &end {
                let told = answer(refused);
                assert!([row.sign, row.generate, GENERATE_UNKNOWN].contains(&told), "{case}: {refused:?}");
            }
            assert_no_orphans(&faulty, &case).await;
        }
    }
    let (recovered, _) = faulty.recover(&key).await;
    assert_recovered("generation", recovered);
    create_key(&faulty.operator, "last").await;
    bystander.assert_unaffected().await;
    assert_acts_ended(&faulty).await;
}

/// Each creation of a key that is on the record has its end there.
async fn assert_acts_ended(faulty: &Faulty) {
    let record = Record::read_settled(&faulty.operator).await;
    let creations = record.of(v1::RecordKind::Act).filter(|act| act.action == "CreateKey");
    let open: Vec<u64> = creations.map(|act| act.index).filter(|index| record.end(*index).is_none()).collect();
    assert_eq!(open, Vec::<u64>::new(), "creations without an outcome");
}

async fn mac(faulty: &Faulty, key: &str) -> Result<Vec<u8>, ClientError> {
    let message = b"authenticated".to_vec();
    let request = v1::MacSignRequest { name: key.to_owned(), message: message.into(), message_crc32c: None };
    let made = faulty.caller.signing().mac_sign(request).await.map_err(|status| faulty.caller.error(status))?;
    Ok(made.into_inner().mac.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mac_that_the_token_does_not_confirm_is_never_handed_out() {
    let faulty = Faulty::start().await;
    let key = try_create_key(&faulty.operator, "m", v1::Algorithm::HmacSha256).await.unwrap().name;
    let right = mac(&faulty, &key).await.unwrap();
    for (row, code) in codes().chain(VERDICTS.codes.iter().map(|code| (&VERDICTS, *code))) {
        for function in ["C_VerifyInit", "C_Verify"] {
            for often in [Often::Once, Often::Always] {
                let case = format!("{code} of {function}, {often:?}");
                faulty.faults.clear_log().unwrap();
                faulty.rules(&[often.rule(Rule::returning(FAULT, function, code))]);
                let end = mac(&faulty, &key).await;
                let asked = if row.retried && often == Often::Always { 2 } else { 1 };
                assert_eq!(faulty.faults.count(FAULT).unwrap(), asked, "{case}");
                match end {
                    Ok(made) => {
                        assert!(often == Often::Once && row.retried, "{case}: confirmed by nobody");
                        assert_eq!(made, right, "{case}");
                    }
                    Err(failure) => {
                        assert!(often == Often::Always || !row.retried, "{case}: {failure:?}");
                        assert!([row.sign, UNKNOWN].contains(&answer(&failure)), "{case}: {failure:?}");
                    }
                }
            }
        }
    }
    faulty.rules(&[]);
    until("it works again", async || mac(&faulty, &key).await.ok().filter(|made| *made == right)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pin_is_never_tried_again_not_even_by_a_restart() {
    let mut faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let latched = (Code::Unavailable, "TOKEN_LATCHED");
    for code in ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED"] {
        let bystander = faulty.bystander().await;
        // A worker that was replaced a moment ago is replaced for this all the same.
        faulty.rules(&[Rule::returning(FAULT, "C_SignInit", "CKR_DEVICE_REMOVED").times(1)]);
        let before = token(&faulty.operator).await.worker_restarts;
        assert_eq!(failed(&[faulty.sign(&key).await]), 1);
        until("the worker is replaced", async || {
            let now = token(&faulty.operator).await;
            (now.worker_restarts > before && now.health() == TokenHealth::Up).then_some(())
        })
        .await;
        faulty.faults.clear_log().unwrap();
        // By the loss of its sessions the worker has to log in again; the next worker would, too.
        faulty.rules(&[
            Rule::new("lost", Then::CloseSessions).on("C_SignInit").times(1),
            Rule::returning(FAULT, "C_Login", code),
        ]);
        let burst = faulty.burst(&key, 10).await;
        public.assert_verifies(&burst);
        assert_answers(code, &burst, &[latched, UNAVAILABLE, UNKNOWN]);
        until("the token says that it is latched", async || {
            (token(&faulty.operator).await.health() == TokenHealth::Latched).then_some(())
        })
        .await;
        faulty.rules(&[]);
        for _ in 0..5 {
            assert_answers(code, &[faulty.sign(&key).await], &[latched]);
        }
        assert_eq!(faulty.logins(), 1, "{code}: the PIN was tried again");
        bystander.assert_unaffected().await;

        // The service comes up, for its other tokens, and this one stays as it is.
        faulty.restart().await.unwrap();
        assert_eq!(token(&faulty.operator).await.health(), TokenHealth::Latched);
        assert_answers(code, &[faulty.sign(&key).await], &[latched]);
        assert_eq!(faulty.logins(), 1, "{code}: a restart tried the PIN again");
        let latches = std::fs::read_dir(faulty.chancery.dir().join("locks")).unwrap();
        let latches: Vec<_> = latches
            .map(|file| file.unwrap().path())
            .filter(|file| file.extension().is_some_and(|extension| extension == "pin-latch"))
            .collect();
        assert_eq!(latches.len(), 1);
        assert!(std::fs::read_to_string(&latches[0]).unwrap().contains(code));
        clear_pin_latch(&faulty.operator, "main").await.unwrap();
        assert!(faulty.sign(&key).await.end.is_ok());
        assert_eq!(faulty.logins(), 2);
    }
}

/// The worker dies under load, and the next one's login fails, and the one after that: all within the back-off.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_for_another_reason_is_tried_again_with_patience() {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    const EVERY_DAY: [&str; 4] =
        ["CKR_KEY_HANDLE_INVALID", "CKR_SESSION_COUNT", "CKR_DEVICE_ERROR", "CKR_DATA_LEN_RANGE"];
    for (row, code) in TABLE.iter().map(|row| (row, row.codes[0])) {
        if !EVERY_DAY.contains(&code) && !thorough() {
            continue;
        }
        faulty.faults.clear_log().unwrap();
        faulty.rules(&[Rule::returning(FAULT, "C_Login", code)]);
        // It is past its login: killed in it, SoftHSM may lose the token.
        let load = faulty.burst(&key, 8);
        let pid =
            until("a worker", async || Some(token(&faulty.operator).await.worker_pid).filter(|pid| *pid != 0)).await;
        signal(pid, "KILL").unwrap();
        let mut calls = load.await;
        until("the token says that it is down", async || {
            (token(&faulty.operator).await.health() == TokenHealth::Down).then_some(())
        })
        .await;
        calls.extend(faulty.burst(&key, 4).await);
        assert_answers(code, &calls, &[of_the_token(row), UNAVAILABLE, UNKNOWN]);
        let (recovered, after) = faulty.recover(&key).await;
        assert_recovered(code, recovered);
        assert!(faulty.logins() <= 6, "{code}: {} logins, without patience", faulty.logins());
        public.assert_verifies(&after);
        public.assert_verifies(&calls);
    }
    bystander.assert_unaffected().await;
}

//! A worker dies, and what the next one does to take the token over fails.

use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_pkcs11_fault::{Crash, Rule, Then};
use chancery_testkit::signal;
use chancery_tests::faults::Faulty;
use chancery_tests::load::{Call, PATIENCE, until};

use crate::coverage;
use crate::round::{Case, FAULT, Round, Rounds};
use crate::table::{BUG, CANNOT, FULL, LENGTH, Often, Row, UNAVAILABLE, UNKNOWN, assert_answers, firsts, thorough};

/// What the start of a worker calls. Each is made once in it, or a few times. A module that has C_GetInterface is not asked for
/// the older C_GetFunctionList.
pub const FUNCTIONS: [&str; 17] = [
    "C_GetInterface",
    "C_GetFunctionList",
    "C_Initialize",
    "C_GetSlotList",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_OpenSession",
    "C_Login",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_GetAttributeValue",
    "C_GenerateKeyPair",
    "C_GenerateKey",
    "C_DestroyObject",
    "C_Finalize",
];

/// What says what the token offers. The token's word for it that it cannot is taken, and so is a failure that says nothing, the
/// second time: the worker serves without, until another one takes over.
const OFFERS: [&str; 3] = ["C_GetMechanismInfo", "C_GenerateKeyPair", "C_GenerateKey"];

/// How often in the starts that follow on one another. One call in ten says nothing of what each process does once.
const fn rule(often: Often, rule: Rule) -> (Rule, &'static str) {
    match often {
        Often::Once => (rule, "in one start"),
        Often::Tenth => (rule, "10 %"),
        Often::Always => (rule, "until ended"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_start_is_followed_by_one_that_can() {
    let rounds = Rounds::start("a_worker_that_cannot_start_is_followed_by_one_that_can", 16).await;
    let mut cases = Vec::new();
    for (number, (row, code)) in firsts().enumerate() {
        for (place, function) in FUNCTIONS.into_iter().enumerate() {
            for often in Often::ALL {
                if !coverage::functions().contains(function) {
                    continue;
                }
                // Every day: once for half of them, and the others for a sixth, each row and each function among them.
                let telling = match often {
                    Often::Once => (number + place) % 2 == 0,
                    Often::Tenth => (number + place) % 6 == 1,
                    Often::Always => (number + place) % 6 == 3,
                };
                if telling || thorough() {
                    cases.push((row, code, function, often));
                }
            }
        }
    }
    rounds
        .each(cases, |round, (row, code, function, often)| async move {
            start_under(&round, row, code, function, often).await;
        })
        .await;
    rounds.end().await;
}

async fn start_under(round: &Round, row: &Row, code: &str, function: &str, often: Often) {
    let fault = row.name();
    let (fault_rule, how) = rule(often, often.rule(Rule::returning(FAULT, function, code)));
    let place = format!("{function} at a worker's start");
    let case = Case { fault: &fault, function: &place, often: how };
    let crash = Rule::new("crash", Then::Crash(Crash::Segv)).on("C_Sign").times(1);
    let mut rules = vec![crash, fault_rule];
    if function == "C_Finalize" {
        // It is called where the token was not found at once.
        rules.push(Rule::returning("first", "C_GetTokenInfo", "CKR_GENERAL_ERROR").times(1));
    }
    round.begin(&rules);
    let mut calls = Vec::new();
    let end = Instant::now() + PATIENCE;
    while round.token.faults.count("crash").unwrap() == 0 {
        assert!(Instant::now() < end, "the worker does not die");
        calls.push(round.token.sign(&round.key).await);
    }
    let burst = round.token.burst(&round.key, 4).await;
    calls.extend(burst);
    let happened = wait_for_fault(round, often).await;
    let name = format!("{code}: {}", case.name());
    assert!(happened > 0 || often == Often::Tenth, "{name}: it did not happen");
    // Of the token alone: nobody is told anything about his key or his input.
    let allowed = [row.of_the_token(), UNAVAILABLE, UNKNOWN, CANNOT, FULL, BUG];
    assert_answers(&name, &calls, &allowed);
    round.public.assert_verifies(&calls);
    let answered = calls.iter().filter(|call| call.end.is_ok()).count();
    round.recover(&case, happened, calls.len(), answered).await;
    round.keep(calls);
    let believed = [CANNOT, BUG, LENGTH].contains(&row.sign) || often != Often::Once;
    // Whoever took the token over knows what it offers.
    if !(believed && OFFERS.contains(&function)) {
        crate::generation::assert_makes_keys(round, &name).await;
    }
}

/// The next worker has met the fault.
async fn wait_for_fault(round: &Round, often: Often) -> usize {
    let end = Instant::now() + PATIENCE;
    loop {
        let happened = round.token.faults.count(FAULT).unwrap();
        if happened > 0 || often == Often::Tenth || Instant::now() > end {
            return happened;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A token that does not let itself be marked is used without the mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_takes_no_sentinel_is_served() {
    let rules = [Rule::returning(FAULT, "C_CreateObject", "CKR_TOKEN_WRITE_PROTECTED")];
    let faulty = Faulty::under(&rules).await;
    assert_eq!(faulty.faults.count(FAULT).unwrap(), 1);
    let (key, public) = faulty.key("k").await;
    let calls: Vec<Call> = faulty.burst(&key, 10).await;
    assert!(calls.iter().all(|call| call.end.is_ok()), "{calls:?}");
    public.assert_verifies(&calls);
}

/// As SoftHSM leaves it where it crashes while it writes: nothing helps until somebody puts the file back, and then nothing else
/// has to be done.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_file_was_destroyed_is_taken_again_once_it_is_put_back() {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    if faulty.cut_token_file().is_none() {
        return;
    }
    signal(faulty.status().await.worker_pid, "KILL").unwrap();
    until("the token is missed", async || {
        let token = faulty.status().await;
        (token.health_cause() == v1::TokenHealthCause::TokenAbsent).then_some(())
    })
    .await;
    let (_, calls) = faulty.recover(&key).await;
    public.assert_verifies(&calls);
}

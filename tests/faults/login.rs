//! A refused PIN is never tried again; a login that fails for another reason is.

use std::time::{Duration, Instant};

use chancery_api::v1::TokenHealth;
use chancery_pkcs11_fault::{Crash, Rule, Then};
use chancery_testkit::Module;
use chancery_tests::faults::{Faulty, clear_pin_latch};
use chancery_tests::load::Call;
use chancery_tests::reliability::{Finding, Findings};

use crate::round::{Case, FAULT, Rounds};
use crate::table::{LATCHED, PIN_CODES, UNAVAILABLE, UNKNOWN, assert_answers, failed, firsts, thorough};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pin_is_never_tried_again_not_even_by_a_restart() {
    let findings = Findings::of("a_refused_pin_is_never_tried_again_not_even_by_a_restart");
    let mut faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    for code in PIN_CODES {
        let bystander = faulty.bystander().await;
        faulty.faults.clear_log().unwrap();
        // By the loss of its sessions the worker has to log in again; the next worker would, too.
        faulty.rules(&[
            Rule::new("lost", Then::CloseSessions).on("C_SignInit").times(1),
            Rule::returning(FAULT, "C_Login", code),
        ]);
        let burst = faulty.burst(&key, 10).await;
        public.assert_verifies(&burst);
        assert_answers(code, &burst, &[LATCHED, UNAVAILABLE, UNKNOWN]);
        faulty.until_health(TokenHealth::Latched).await;
        faulty.rules(&[]);
        for _ in 0..5 {
            assert_answers(code, &[faulty.sign(&key).await], &[LATCHED]);
        }
        assert_eq!(faulty.logins(), 1, "{code}: the PIN was tried again");
        bystander.assert_unaffected().await;

        for _ in 0..2 {
            faulty.restart().await.unwrap();
            faulty.until_health(TokenHealth::Latched).await;
            assert_answers(code, &[faulty.sign(&key).await], &[LATCHED]);
            assert_eq!(faulty.logins(), 1, "{code}: a restart tried the PIN again");
        }
        // The way back is one attempt, too: where it fails, the latch holds.
        faulty.rules(&[Rule::returning(FAULT, "C_Login", code).times(1)]);
        clear_pin_latch(&faulty.operator, &faulty.id).await.unwrap_err();
        faulty.until_health(TokenHealth::Latched).await;
        assert_eq!(faulty.logins(), 2, "{code}: one word of the operator, one attempt");
        clear_pin_latch(&faulty.operator, &faulty.id).await.unwrap();
        let call = faulty.sign(&key).await;
        assert!(call.end.is_ok(), "{code}: {call:?}");
        assert_eq!(faulty.logins(), 3);
        findings.note(Finding {
            fault: PIN_CODES.map(|code| format!("`{}`", code.strip_prefix("CKR_").unwrap())).join(", "),
            function: "C_Login".to_owned(),
            often: "always".to_owned(),
            faults: 2,
            calls: burst.len(),
            answered: burst.len() - failed(&burst),
            recovery: None,
        });
    }
    findings.write();
}

/// A PIN that locks: the faulty module's on a token that has none, and the token's own, where it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_costs_one_attempt_and_does_not_lock_the_token() {
    let findings = Findings::of("a_wrong_pin_costs_one_attempt_and_does_not_lock_the_token");
    let mut faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let pin_file = faulty.chancery.token_dir().join("pin");
    let pin = std::fs::read(&pin_file).unwrap();
    let locks = Rule::new("locks", Then::PinLocksAfter(2));
    faulty.faults.clear_log().unwrap();
    faulty.rules(std::slice::from_ref(&locks));
    std::fs::write(&pin_file, "not the PIN").unwrap();
    for _ in 0..3 {
        faulty.restart().await.unwrap();
        faulty.until_health(TokenHealth::Latched).await;
        let call = faulty.sign(&key).await;
        assert_eq!(failed(std::slice::from_ref(&call)), 1);
        assert_answers("a wrong PIN", &[call], &[LATCHED]);
    }
    assert_eq!(faulty.logins(), 1, "one attempt in three starts");
    // Two would have locked it, for the right PIN as well.
    std::fs::write(&pin_file, &pin).unwrap();
    clear_pin_latch(&faulty.operator, &faulty.id).await.unwrap();
    let calls = faulty.burst(&key, 4).await;
    assert_eq!(failed(&calls), 0, "{calls:?}");
    public.assert_verifies(&calls);
    assert_eq!(faulty.logins(), 2);
    findings.note(Finding {
        fault: "a PIN that locks".to_owned(),
        function: "C_Login".to_owned(),
        often: "always".to_owned(),
        faults: 1,
        calls: 3,
        answered: 0,
        recovery: None,
    });
    findings.write();
}

/// Kryoptic locks a PIN by itself, for good: wrong PINs are shown to it only as often as an operator says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_really_locks_its_pin_is_never_driven_there() {
    if Module::from_environment().unwrap() != Module::Kryoptic {
        return;
    }
    let mut faulty = Faulty::start().await;
    let (key, _) = faulty.key("k").await;
    let pin_file = faulty.chancery.token_dir().join("pin");
    let pin = std::fs::read(&pin_file).unwrap();
    faulty.faults.clear_log().unwrap();
    std::fs::write(&pin_file, "not the PIN").unwrap();
    // More starts than the token takes wrong PINs.
    for _ in 0..12 {
        faulty.restart().await.unwrap();
        faulty.until_health(TokenHealth::Latched).await;
    }
    assert_eq!(faulty.logins(), 1, "one attempt in twelve starts");
    std::fs::write(&pin_file, &pin).unwrap();
    clear_pin_latch(&faulty.operator, &faulty.id).await.unwrap();
    assert!(faulty.sign(&key).await.end.is_ok(), "the PIN is not locked");

    // And where it is locked already, that is said, and not tried.
    std::fs::write(&pin_file, "not the PIN").unwrap();
    faulty.restart().await.unwrap();
    faulty.until_health(TokenHealth::Latched).await;
    let mut last = String::new();
    for _ in 0..20 {
        last = clear_pin_latch(&faulty.operator, &faulty.id).await.unwrap_err().to_string();
    }
    std::fs::write(&pin_file, &pin).unwrap();
    let before = faulty.logins();
    clear_pin_latch(&faulty.operator, &faulty.id).await.unwrap_err();
    assert_eq!(faulty.logins(), before + 1, "the right PIN, once: {last}");
    faulty.until_health(TokenHealth::Latched).await;
    assert_answers("a locked PIN", &[faulty.sign(&key).await], &[LATCHED]);
}

/// The worker dies under load, and the next one's login fails, and the one after that: all within the back-off.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_for_another_reason_is_tried_again_with_patience() {
    const EVERY_DAY: [&str; 4] =
        ["CKR_KEY_HANDLE_INVALID", "CKR_SESSION_COUNT", "CKR_DEVICE_ERROR", "CKR_DATA_LEN_RANGE"];
    let rounds = Rounds::start("a_login_that_fails_for_another_reason_is_tried_again_with_patience", 4).await;
    let cases: Vec<_> = firsts().filter(|(_, code)| EVERY_DAY.contains(code) || thorough()).collect();
    rounds
        .each(cases, |round, (row, code)| async move {
            let fault = row.name();
            let case = Case { fault: &fault, function: "C_Login at a worker's start", often: "until ended" };
            let crash = Rule::new("crash", Then::Crash(Crash::Segv)).on("C_Sign").times(1);
            round.begin(&[crash, Rule::returning(FAULT, "C_Login", code)]);
            let began = Instant::now();
            let mut calls: Vec<Call> = round.token.burst(&round.key, 8).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            calls.extend(round.token.burst(&round.key, 4).await);
            assert_answers(code, &calls, &[row.of_the_token(), UNAVAILABLE, UNKNOWN]);
            let happened = round.token.faults.count(FAULT).unwrap();
            // The pauses grow to 3 seconds: six in the first two.
            let most = 6 + usize::try_from(began.elapsed().as_secs()).unwrap().saturating_sub(2);
            assert!((1..=most).contains(&happened), "{code}: {happened} logins, at most {most} are patient");
            let answered = calls.iter().filter(|call| call.end.is_ok()).count();
            round.recover(&case, happened, calls.len(), answered).await;
            round.public.assert_verifies(&calls);
            round.keep(calls);
        })
        .await;
    rounds.end().await;
}

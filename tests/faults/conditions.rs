//! What the device is like for a while: slow, silent, away, back in another slot, short of sessions.

use std::time::{Duration, Instant};

use chancery_api::v1::TokenHealth;
use chancery_client::{Client, ClientError, ConnectOptions};
use chancery_pkcs11_fault::{Crash, Hang, Rule, Then};
use chancery_tests::faults::Faulty;
use chancery_tests::load::{sign, until};
use chancery_tests::reliability::{Finding, Findings};
use tonic::Code;

use crate::round::{Case, FAULT, Met, RECOVERY, Rounds, WORKER_START};
use crate::table::{FULL, UNAVAILABLE, UNKNOWN, assert_answers, failed};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_token_is_waited_for_and_holds_up_nobody_else() {
    const DELAY: Duration = Duration::from_millis(300);
    let rounds = Rounds::start("a_slow_token_is_waited_for_and_holds_up_nobody_else", 1).await;
    rounds
        .each(vec!["C_SignInit", "C_Sign"], |round, function| async move {
            let case = Case { fault: "a delay of 300 ms", function, often: "always" };
            let millis = u64::try_from(DELAY.as_millis()).unwrap();
            let rule = Rule::new(FAULT, Then::DelayMs(millis)).on(function);
            let Met { burst, happened } = round.meet(&case, &[rule], 8).await;
            assert_eq!(failed(&burst), 0, "{function}: {burst:?}");
            assert!(happened >= burst.len(), "{function}: {happened}");
            assert!(burst.iter().all(|call| call.ended - call.began >= DELAY), "{function}: {burst:?}");
            round.keep(burst);
        })
        .await;
    rounds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_holds_its_thread_alone_until_the_worker_is_replaced() {
    let findings = Findings::of("a_call_that_hangs_holds_its_thread_alone_until_the_worker_is_replaced");
    for (function, until_when) in [("C_SignInit", Hang::ForEver), ("C_Sign", Hang::UntilRemoved)] {
        findings.note(hang(function, until_when).await);
    }
    findings.write();
}

async fn hang(function: &str, until_when: Hang) -> Finding {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    let before = faulty.status().await.worker_pid;
    faulty.rules(&[Rule::new(FAULT, Then::Hang(until_when)).on(function).times(1)]);
    let options = faulty.chancery.connect_options(&faulty.chancery.caller_identity());
    let hasty = ConnectOptions { request_timeout: Duration::from_secs(5), ..options };
    let hasty = Client::connect(hasty).await.unwrap();
    let began = Instant::now();
    let failure = sign(&hasty, &key, "it hangs").await.unwrap_err();
    let late = matches!(failure, ClientError::TimedOut { .. }) || failure.code() == Some(Code::DeadlineExceeded);
    assert!(late && began.elapsed() < Duration::from_secs(25), "{failure:?} after {:?}", began.elapsed());
    assert_eq!(faulty.faults.count(FAULT).unwrap(), 1);
    let burst = faulty.burst(&key, 20).await;
    assert_eq!(failed(&burst), 0, "{burst:?}");
    public.assert_verifies(&burst);
    until("the worker is replaced", async || {
        let now = faulty.status().await;
        (now.worker_pid != 0 && now.worker_pid != before && now.health() == TokenHealth::Up).then_some(())
    })
    .await;
    let (took, after) = faulty.recover(&key).await;
    assert!(took < RECOVERY + WORKER_START, "{function}: signing again only after {took:?}");
    public.assert_verifies(&after);
    bystander.assert_unaffected().await;
    Finding {
        fault: "a hang".to_owned(),
        function: function.to_owned(),
        often: "once".to_owned(),
        faults: 1,
        calls: 1 + burst.len(),
        answered: burst.len(),
        recovery: Some(took),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_away_is_found_again_under_another_slot_number() {
    let rounds = Rounds::start("a_token_that_was_away_is_found_again_under_another_slot_number", 2).await;
    let label = rounds.faulty.status().await.label;
    let cases = vec![None, Some(4711)];
    rounds
        .each(cases, move |round, slot| {
            let label = label.clone();
            async move {
                let what = if slot.is_some() { "absent, and back under another slot number" } else { "absent" };
                let case = Case { fault: what, function: "", often: "until ended" };
                round.begin(&[Rule::new(FAULT, Then::Absent)]);
                let mut burst = round.token.burst(&round.key, 20).await;
                assert_eq!(failed(&burst), burst.len(), "{what}: {burst:?}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                burst.extend(round.token.burst(&round.key, 4).await);
                assert_answers(what, &burst, &[UNAVAILABLE, UNKNOWN]);
                let happened = round.token.faults.count(FAULT).unwrap();
                let Some(number) = slot else {
                    round.recover(&case, happened, burst.len(), 0).await;
                    round.keep(burst);
                    return;
                };
                let moved = Rule::new("moved", Then::SlotNumber(number)).when(|when| when.token = Some(label));
                let (took, after) = round.token.recover_under(&round.key, std::slice::from_ref(&moved)).await;
                round.note(&case, happened, burst.len(), 0, took);
                round.public.assert_verifies(&after);
                round.keep(burst);
                round.keep(after);
            }
        })
        .await;
    rounds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_short_of_sessions_is_used_with_those_that_it_has() {
    let rounds = Rounds::start("a_token_short_of_sessions_is_used_with_those_that_it_has", 1).await;
    rounds
        .each(vec!["a session cap"], |round, what| async move {
            let case = Case { fault: what, function: "", often: "until ended" };
            // The anchor, the control session, and one to sign with.
            let cap = Rule::new(FAULT, Then::SessionCap(3));
            let crash = Rule::new("crash", Then::Crash(Crash::Segv)).on("C_Sign").times(1);
            let Met { burst, happened } = round.meet(&case, &[cap, crash], 40).await;
            assert!(happened > 0, "no session was refused");
            assert_answers(what, &burst, &[FULL, UNKNOWN, UNAVAILABLE]);
            assert!(failed(&burst) < burst.len(), "nothing was signed: {burst:?}");
            round.keep(burst);
        })
        .await;
    rounds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_expire_when_idle_are_opened_anew() {
    let rounds = Rounds::start("sessions_that_expire_when_idle_are_opened_anew", 1).await;
    rounds
        .each(vec!["idle expiry"], |round, what| async move {
            let case = Case { fault: what, function: "", often: "until ended" };
            round.begin(&[Rule::new(FAULT, Then::IdleExpiryMs(1_000))]);
            let mut calls = Vec::new();
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                calls.extend(round.token.burst(&round.key, 3).await);
            }
            assert_eq!(failed(&calls), 0, "{calls:?}");
            round.public.assert_verifies(&calls);
            let happened = round.token.faults.count(FAULT).unwrap();
            assert!(happened > 0, "no session expired");
            round.recover(&case, happened, calls.len(), calls.len()).await;
            round.keep(calls);
        })
        .await;
    rounds.end().await;
}

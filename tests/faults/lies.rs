//! Crashes, lies and lost sessions in the middle of load: what no return code tells of.

use chancery_pkcs11_fault::{Choice, Crash, Find, Rule, Then};
use chancery_tests::token_under_test::token_under_test;

use crate::round::{Case, FAULT, Met, Rounds};
use crate::table::{AMBIGUOUS, Answer, GONE, Often, UNAVAILABLE, UNKNOWN, WRONG, assert_answers, failed};

struct Lie {
    what: &'static str,
    often: Often,
    rules: Vec<Rule>,
    /// What callers may be told.
    told: &'static [Answer],
    /// Whether some calls are answered all the same.
    some_work: bool,
}

fn lies() -> Vec<Lie> {
    use Often::{Always, Once, Tenth};
    let rule = |then: Then| Rule::new(FAULT, then);
    let stale = || Rule::returning("stale", "C_SignInit", "CKR_KEY_HANDLE_INVALID");
    let lie = |what, often, rules, told, some_work| Lie { what, often, rules, told, some_work };
    let mut lies = Vec::new();
    for often in Often::ALL {
        let (wrong, some_work): (&[Answer], bool) = match often {
            Once => (&[], true),
            Tenth => (&[WRONG], true),
            Always => (&[WRONG], false),
        };
        lies.push(lie(
            "a flipped bit in a signature",
            often,
            vec![often.rule(rule(Then::FlipBit(9)))],
            wrong,
            some_work,
        ));
        let other_key = often.rule(rule(Then::OtherKey(Choice::Any)));
        lies.push(lie("another key's signature", often, vec![other_key], wrong, some_work));
        for (what, then) in [("all sessions closed", Then::CloseSessions), ("a logout", Then::Logout)] {
            // A hang of the module's own has a test of its own.
            let hangs = then == Then::Logout && !token_under_test().logs_in_beside_signing;
            let lost: &[Answer] = if often == Once { &[] } else { &[UNAVAILABLE, UNKNOWN] };
            if often != Always && !hangs {
                lies.push(lie(what, often, vec![often.rule(rule(then).on("C_SignInit"))], lost, true));
            }
        }
    }
    for (what, how) in [("SIGSEGV", Crash::Segv), ("an abort", Crash::Abort)] {
        for function in ["C_SignInit", "C_Sign"] {
            let crash = rule(Then::Crash(how)).on(function).times(1);
            lies.push(lie(what, Once, vec![crash], &[], true));
        }
    }
    // Of the first that it makes, and of those that follow; the first is as it should be.
    lies.push(lie("a repeated nonce", Always, vec![rule(Then::RepeatNonce)], &[WRONG], true));
    let duplicate = rule(Then::Find(Find::Duplicate));
    lies.push(lie("a duplicate find result", Always, vec![stale(), duplicate], &[AMBIGUOUS], false));
    let missing = rule(Then::Find(Find::Missing));
    lies.push(lie("a missing find result", Always, vec![stale(), missing], &[GONE, UNAVAILABLE, UNKNOWN], false));
    lies
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_lies_and_lost_sessions_release_nothing_wrong_and_pass() {
    let rounds = Rounds::start("crashes_lies_and_lost_sessions_release_nothing_wrong_and_pass", 6).await;
    for token in rounds.faulty.tokens() {
        // For the lies that need another key.
        token.key("other").await;
    }
    rounds
        .each(lies(), |round, Lie { what, often, rules, told, some_work }| async move {
            let case = Case { fault: what, function: "", often: often.as_str() };
            let Met { burst, happened } = round.meet(&case, &rules, 30).await;
            assert!(happened > 0, "{what}, {often:?}: it did not happen");
            assert_answers(what, &burst, told);
            let refused = failed(&burst);
            assert_eq!(refused < burst.len(), some_work, "{what}, {often:?}: {refused} of {} failed", burst.len());
            round.keep(burst);
        })
        .await;
    rounds.end().await;
}

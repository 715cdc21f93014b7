//! Return codes on the way of a MAC, and of random bytes: what is made in the token with no public key to verify it by.

use chancery_api::v1::Algorithm;
use chancery_client::ClientError;
use chancery_pkcs11_fault::{Rule, Then, Verdict};

use crate::round::{Case, FAULT, Round, Rounds};
use crate::table::{Often, Row, UNKNOWN, VERDICTS, answer, codes, firsts, thorough};

/// What making a MAC calls.
pub const MAC_FUNCTIONS: [&str; 4] = ["C_SignInit", "C_Sign", "C_VerifyInit", "C_Verify"];
/// What drawing random bytes calls.
pub const RANDOM_FUNCTIONS: [&str; 1] = ["C_GenerateRandom"];

/// Calls under a fault that happens each tenth time. With the same draw each time, some meet it.
const CALLS: usize = 12;

const fn calls(often: Often) -> usize {
    match often {
        Often::Once | Often::Always => 2,
        Often::Tenth => CALLS,
    }
}

/// What one of the calls came to.
#[track_caller]
fn judge(case: &str, row: &Row, often: Often, end: &Result<Vec<u8>, ClientError>, is_right: impl Fn(&[u8]) -> bool) {
    match end {
        Ok(made) => {
            assert!(often != Often::Always, "{case}: done with the token failing");
            assert!(is_right(made), "{case}: {made:?}");
        }
        Err(failure) => {
            assert!([row.of_the_token(), row.sign, UNKNOWN].contains(&answer(failure)), "{case}: {failure:?}");
        }
    }
}

/// How often the fault has happened is how often the token was asked.
#[track_caller]
fn assert_asked(case: &str, row: &Row, often: Often, happened: usize, ends: &[Result<Vec<u8>, ClientError>]) {
    let refused = ends.iter().filter(|end| end.is_err()).count();
    // Where neither a key nor an input is in play, a code that speaks of one is the token's own trouble.
    match (often, row.retried || (row.of_the_token() != row.sign && case.contains("C_GenerateRandom"))) {
        (Often::Once, true) => assert_eq!((happened, refused), (1, 0), "{case}: {ends:?}"),
        (Often::Once, false) => assert_eq!((happened, refused), (1, 1), "{case}: {ends:?}"),
        (Often::Always, true) => assert_eq!(happened, 2 * ends.len(), "{case}: asked twice each time: {ends:?}"),
        (Often::Always, false) => assert_eq!(happened, ends.len(), "{case}: asked once each time: {ends:?}"),
        (Often::Tenth, _) => assert!(happened > 0, "{case}: it did not happen"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mac_that_the_token_does_not_confirm_is_never_handed_out() {
    let rounds = Rounds::start("a_mac_that_the_token_does_not_confirm_is_never_handed_out", 12).await;
    let mut cases = Vec::new();
    for (row, code) in codes().chain(VERDICTS.codes.iter().map(|code| (&VERDICTS, *code))) {
        for function in MAC_FUNCTIONS {
            // No verdict is C_Sign's to give.
            if row.codes == VERDICTS.codes && function != "C_Verify" && !thorough() {
                continue;
            }
            for often in Often::ALL {
                if row.codes[0] == code || (function == "C_Verify" && often != Often::Tenth) || thorough() {
                    cases.push((row, code, function, often));
                }
            }
        }
    }
    for token in rounds.faulty.tokens() {
        token.try_create_key("m", Algorithm::HmacSha256).await.unwrap();
    }
    rounds
        .each(cases, |round, (row, code, function, often)| async move {
            let fault = row.name();
            let place = format!("{function} of a MAC");
            let case = Case { fault: &fault, function: &place, often: often.as_str() };
            let rule = often.rule(Rule::returning(FAULT, function, code));
            // The real signature, where there are two calls.
            let rule = if function == "C_Sign" { rule.when(|when| when.output = Some(true)) } else { rule };
            make_macs(&round, row, often, &case, code, rule).await;
        })
        .await;
    rounds.end().await;
}

async fn make_macs(round: &Round, row: &Row, often: Often, case: &Case<'_>, code: &str, rule: Rule) {
    let key = format!("keyRings/{}/keys/m", round.token.ring);
    let message = b"authenticated";
    round.token.rules(&[]);
    let right = round.token.mac(&key, message).await.unwrap();
    round.begin(&[rule]);
    let mut ends = Vec::new();
    for _ in 0..calls(often) {
        ends.push(round.token.mac(&key, message).await);
    }
    let happened = round.token.faults.count(FAULT).unwrap();
    let name = format!("{code}: {}", case.name());
    for end in &ends {
        judge(&name, row, often, end, |made| made == right);
    }
    assert_asked(&name, row, often, happened, &ends);
    round.recover(case, happened, ends.len(), ends.iter().filter(|end| end.is_ok()).count()).await;
    assert_eq!(round.token.mac(&key, message).await.unwrap(), right, "{name}: right again");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_come_from_a_token_that_works_or_not_at_all() {
    let rounds = Rounds::start("random_bytes_come_from_a_token_that_works_or_not_at_all", 4).await;
    let mut cases = Vec::new();
    for (row, code) in firsts() {
        cases.extend(Often::ALL.map(|often| (row, code, often)));
    }
    rounds
        .each(cases, |round, (row, code, often)| async move {
            let fault = row.name();
            let case = Case { fault: &fault, function: "C_GenerateRandom", often: often.as_str() };
            round.begin(&[often.rule(Rule::returning(FAULT, "C_GenerateRandom", code))]);
            let mut ends = Vec::new();
            for _ in 0..calls(often) {
                ends.push(round.token.random(32).await);
            }
            let happened = round.token.faults.count(FAULT).unwrap();
            let name = format!("{code}: {}", case.name());
            for end in &ends {
                judge(&name, row, often, end, |drawn| drawn.len() == 32 && drawn.iter().any(|byte| *byte != 0));
            }
            assert_asked(&name, row, often, happened, &ends);
            round.recover(&case, happened, ends.len(), ends.iter().filter(|end| end.is_ok()).count()).await;
        })
        .await;
    rounds.end().await;
}

/// Lies for which no key is needed, and about MACs.
#[tokio::test(flavor = "multi_thread")]
async fn lies_about_macs_and_random_bytes_are_found_out() {
    let rounds = Rounds::start("lies_about_macs_and_random_bytes_are_found_out", 1).await;
    let key = rounds.faulty.try_create_key("m", Algorithm::HmacSha256).await.unwrap().name;
    let right = rounds.faulty.mac(&key, b"m").await.unwrap();
    let cases = vec![
        ("a flipped bit in a MAC", Then::FlipBit(4)),
        ("a right MAC that the token denies", Then::Verify(Verdict::No)),
        ("zeros for random bytes", Then::Zeros),
    ];
    rounds
        .each(cases, move |round, (what, lie)| {
            let (key, right) = (key.clone(), right.clone());
            async move {
                for often in [Often::Once, Often::Always] {
                    let case = Case { fault: what, function: "", often: often.as_str() };
                    round.begin(&[often.rule(Rule::new(FAULT, lie.clone()))]);
                    let end = if lie == Then::Zeros {
                        round.token.random(32).await
                    } else {
                        round.token.mac(&key, b"m").await
                    };
                    let happened = round.token.faults.count(FAULT).unwrap();
                    match (&end, often) {
                        (Ok(made), Often::Once) => assert!(lie == Then::Zeros || *made == right, "{what}: {made:?}"),
                        (Err(_), Often::Always) => assert_eq!(happened, 2, "{what}: asked twice"),
                        _ => panic!("{what}, {often:?}: {end:?}"),
                    }
                    round.recover(&case, happened, 1, usize::from(end.is_ok())).await;
                }
            }
        })
        .await;
    rounds.end().await;
}

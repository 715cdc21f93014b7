//! Return codes on the way of a new key: none is left unrecorded, none is made twice.

use std::time::{Duration, Instant};

use chancery_api::v1::Algorithm;
use chancery_pkcs11_fault::{AttributeLie, AttributeValue, Choice, Find, Rule, Then};
use chancery_tests::faults::FaultyToken;

use crate::round::{Case, FAULT, RECOVERY, Round, Rounds, WORKER_START};
use crate::table::{
    Answer, BUG, CANNOT, GENERATE_UNKNOWN, Often, Row, UNAVAILABLE, WRONG, answer, codes, firsts, thorough,
};

/// What a new key is asked for: a pair, and a secret.
const KINDS: [(&str, Algorithm); 2] =
    [("C_GenerateKeyPair", Algorithm::EcdsaP256Sha256), ("C_GenerateKey", Algorithm::HmacSha256)];

/// What goes before and after the generation of a pair; the last is called where a key has to go again.
const BESIDE: [&str; 8] = [
    "C_GetSessionInfo",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_GetAttributeValue",
    "C_SignInit",
    "C_Sign",
    "C_DestroyObject",
];

pub fn functions() -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().map(|(function, _)| function).chain(BESIDE)
}

/// Keys that are asked for where each tenth call fails.
const KEYS: usize = 5;

/// Waits until no key is reserved and unsettled, then compares the token's files with what the service knows.
pub async fn assert_no_orphans(token: &FaultyToken, case: &str) {
    let keys = token.settled_keys().await;
    if let Some(objects) = token.objects_in_token() {
        let known: usize = keys.values().sum();
        assert_eq!(objects, known, "{case}: key objects in the token, and those that are on the record");
    }
}

/// Ids of keys that are not there yet.
fn ids(round: &Round, count: usize) -> Vec<String> {
    (0..count).map(|_| format!("g{}", round.token.number())).collect()
}

/// Asks for keys while a fault happens. Answers what those were told who got none.
async fn ask(round: &Round, algorithm: Algorithm, ids: &[String]) -> Vec<(tonic::Code, String)> {
    let mut refusals = Vec::new();
    for id in ids {
        if let Err(refused) = round.token.try_create_key(id, algorithm).await {
            let (code, reason) = answer(&refused);
            refusals.push((code, reason.to_owned()));
        }
    }
    refusals
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_fails_leaves_a_recorded_key_or_none() {
    let rounds = Rounds::start("a_generation_that_fails_leaves_a_recorded_key_or_none", 8).await;
    let mut cases = Vec::new();
    for (row, code) in codes() {
        for (function, algorithm) in KINDS {
            for made in [false, true] {
                for often in Often::ALL {
                    let telling = row.codes[0] == code || (function == "C_GenerateKeyPair" && made);
                    if thorough() || (telling && (often == Often::Once || row.codes[0] == code)) {
                        cases.push((row, code, function, algorithm, made, often));
                    }
                }
            }
        }
    }
    rounds
        .each(cases, |round, (row, code, function, algorithm, made, often)| async move {
            let fault = row.name();
            let place = if made { format!("{function}, and the key is made") } else { function.to_owned() };
            let case = Case { fault: &fault, function: &place, often: often.as_str() };
            let count = if often == Often::Tenth { KEYS } else { 1 };
            let ids = ids(&round, count);
            // The session keys that a new worker makes, and throws away, have no label.
            let label = ids.first().filter(|_| count == 1).map(|id| format!("chancery:{}/{id}/1", round.token.ring));
            let rule = often.rule(Rule::returning(FAULT, function, code)).when(|when| when.label = label);
            round.begin(&[if made { rule.after_the_call() } else { rule }]);
            let refused = ask(&round, algorithm, &ids).await;
            let happened = round.token.faults.count(FAULT).unwrap();
            let name = format!("{code}: {}", case.name());
            assert!(happened > 0, "{name}: it did not happen");
            assert!(happened == refused.len() || count > 1, "{name}: never asked for twice: {refused:?}");
            for (code, reason) in &refused {
                assert_eq!((*code, reason.as_str()), row.generate, "{name}");
            }
            round.recover(&case, happened, count, count - refused.len()).await;
            assert_no_orphans(&round.token, &name).await;
        })
        .await;
    rounds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_before_and_after_a_generation_may_fail_as_well() {
    let rounds = Rounds::start("what_goes_before_and_after_a_generation_may_fail_as_well", 12).await;
    let mut cases = Vec::new();
    for (number, (row, code)) in firsts().enumerate() {
        for (place, function) in BESIDE.into_iter().enumerate() {
            for often in Often::ALL {
                if often == Often::Once || (number + place) % 3 == 0 || thorough() {
                    cases.push((row, code, function, often));
                }
            }
        }
    }
    rounds
        .each(cases, |round, (row, code, function, often)| async move {
            fail_beside(&round, row, code, function, often).await;
        })
        .await;
    rounds.end().await;
}

async fn fail_beside(round: &Round, row: &Row, code: &str, function: &str, often: Often) {
    let fault = row.name();
    let place = format!("{function} beside a generation");
    let case = Case { fault: &fault, function: &place, often: often.as_str() };
    let mut rules = vec![often.rule(Rule::returning(FAULT, function, code))];
    if function == "C_DestroyObject" {
        // Something has to be wrong with the key for it to be destroyed again.
        rules.push(Rule::new("lie", Then::Attribute(extractable())));
    }
    round.begin(&rules);
    let count = if often == Often::Tenth { KEYS } else { 1 };
    let refused = ask(round, Algorithm::EcdsaP256Sha256, &ids(round, count)).await;
    let happened = round.token.faults.count(FAULT).unwrap();
    let name = format!("{code}: {}", case.name());
    assert!(happened > 0 || often == Often::Tenth, "{name}: it did not happen: {refused:?}");
    let allowed: [Answer; 7] = [row.sign, row.generate, GENERATE_UNKNOWN, row.of_the_token(), UNAVAILABLE, BUG, CANNOT];
    for (code, reason) in &refused {
        assert!(allowed.contains(&(*code, reason.as_str())), "{name}: {code} {reason}");
    }
    round.recover(&case, happened, count, count - refused.len()).await;
    assert_makes_keys(round, &name).await;
    assert_no_orphans(&round.token, &name).await;
}

/// Keys can be made again, and not only be used: the lane for it may have been mended by the first that failed in it.
pub async fn assert_makes_keys(round: &Round, case: &str) {
    let end = Instant::now() + RECOVERY + WORKER_START;
    loop {
        let refused = ask(round, Algorithm::EcdsaP256Sha256, &ids(round, 1)).await;
        if refused.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{case}: no key is made any more: {refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn extractable() -> AttributeLie {
    AttributeLie { name: "CKA_EXTRACTABLE".to_owned(), value: AttributeValue::Boolean(true) }
}

/// A key that is not what it should be, or does not look so, is refused and destroyed; the token's word for it that all is
/// well is not taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_that_is_not_as_demanded_is_destroyed() {
    let rounds = Rounds::start("a_new_key_that_is_not_as_demanded_is_destroyed", 4).await;
    let lies: Vec<(&str, Then, &[Answer])> = vec![
        ("an attribute that lies (EXTRACTABLE)", Then::Attribute(extractable()), &[CANNOT]),
        (
            "an attribute that lies (SENSITIVE)",
            Then::Attribute(AttributeLie { name: "CKA_SENSITIVE".to_owned(), value: AttributeValue::Boolean(false) }),
            &[CANNOT],
        ),
        ("the wrong public key", Then::OtherPublicKey(Choice::Any), &[WRONG]),
        ("a flipped bit in the proof of a new key", Then::FlipBit(5), &[WRONG]),
        ("another key's signature in the proof of a new key", Then::OtherKey(Choice::Any), &[WRONG]),
    ];
    rounds
        .each(lies, |round, (what, lie, told)| async move {
            for often in [Often::Once, Often::Always] {
                let case = Case { fault: what, function: "", often: often.as_str() };
                round.begin(&[often.rule(Rule::new(FAULT, lie.clone()))]);
                let refused = ask(&round, Algorithm::EcdsaP256Sha256, &ids(&round, 1)).await;
                let happened = round.token.faults.count(FAULT).unwrap();
                assert!(happened > 0, "{what}: it did not happen");
                for (code, reason) in &refused {
                    assert!(told.contains(&(*code, reason.as_str())), "{what}: {code} {reason}");
                }
                // A signature may be asked for once more; whoever reads a lie has no second look at it.
                let asked_again = *told == [WRONG] && often == Often::Once && !matches!(lie, Then::OtherPublicKey(_));
                assert_eq!(refused.is_empty(), asked_again, "{what}, {often:?}: {refused:?}");
                round.recover(&case, happened, 1, 1 - refused.len()).await;
                assert_no_orphans(&round.token, what).await;
            }
        })
        .await;
    rounds.end().await;
}

/// A search that hides the new key's id, or shows one twice, does not make two keys of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_lies_makes_no_second_key() {
    let rounds = Rounds::start("a_search_that_lies_makes_no_second_key", 2).await;
    let lies = vec![("a duplicate find result", Find::Duplicate), ("a missing find result", Find::Missing)];
    rounds
        .each(lies, |round, (what, lie)| async move {
            // The generation is said to have failed, so the token is searched for what it left.
            let lost = Rule::returning("lost", "C_GenerateKeyPair", "CKR_FUNCTION_FAILED").after_the_call().times(1);
            let case = Case { fault: what, function: "beside a generation", often: "always" };
            round.begin(&[lost, Rule::new(FAULT, Then::Find(lie))]);
            let refused = ask(&round, Algorithm::EcdsaP256Sha256, &ids(&round, 1)).await;
            assert_eq!(refused, [(GENERATE_UNKNOWN.0, GENERATE_UNKNOWN.1.to_owned())], "{what}");
            let happened = round.token.faults.count(FAULT).unwrap();
            round.recover(&case, happened, 1, 0).await;
            assert!(happened > 0, "{what}: it did not happen");
            assert_no_orphans(&round.token, what).await;
        })
        .await;
    rounds.end().await;
}

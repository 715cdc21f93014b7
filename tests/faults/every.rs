//! Every return code of the standard, and a vendor's, in every function that the product calls: also those that mean nothing
//! there. What callers are told is not held to a table here, but to be one of the things that they can be told; all else is
//! asserted as ever.

use chancery_api::v1::{Algorithm, TokenHealth};
use chancery_client::ClientError;
use chancery_pkcs11_fault::{AttributeLie, AttributeValue, Crash, Rule, Then, return_codes};
use chancery_tests::faults::clear_pin_latch;

use crate::coverage;
use crate::round::{Case, FAULT, Round, Rounds};
use crate::table::{
    AMBIGUOUS, Answer, BUG, CANNOT, FULL, GENERATE_UNKNOWN, GONE, LATCHED, LENGTH, Often, UNAVAILABLE, UNKNOWN, WRONG,
    answer, thorough,
};

/// All that a caller is told of a token.
const TOLD: [Answer; 12] = [
    UNKNOWN,
    UNAVAILABLE,
    LATCHED,
    GENERATE_UNKNOWN,
    FULL,
    CANNOT,
    BUG,
    WRONG,
    LENGTH,
    GONE,
    AMBIGUOUS,
    // A worker that could not find out what the token offers.
    (tonic::Code::FailedPrecondition, "ALGORITHM_NOT_OFFERED"),
];

/// Of so many cases every day meets one, another function and code each time.
const EVERY_DAY: usize = 173;

/// Called in the first start on a new token only; `starting` has a test of it.
const NOT_HERE: &str = "C_CreateObject";

#[tokio::test(flavor = "multi_thread")]
async fn every_return_code_in_every_function_is_survived() {
    let rounds = Rounds::start("every_return_code_in_every_function_is_survived", 16).await;
    for token in rounds.faulty.tokens() {
        token.try_create_key("m", Algorithm::HmacSha256).await.unwrap();
    }
    let codes: Vec<&str> = return_codes().map(|(name, _)| name).chain(["0x80000001"]).collect();
    let mut cases = Vec::new();
    for function in coverage::functions().into_iter().filter(|function| *function != NOT_HERE) {
        for code in &codes {
            cases.extend([Often::Once, Often::Always].map(|often| (function, *code, often)));
        }
    }
    if !thorough() {
        cases = cases.into_iter().step_by(EVERY_DAY).collect();
    }
    rounds
        .each(cases, |round, (function, code, often)| async move { survive(&round, function, code, often).await })
        .await;
    rounds.end().await;
}

/// What it takes for a function to be called.
fn occasion(function: &str) -> Option<Rule> {
    Some(match function {
        "C_FindObjectsInit" | "C_FindObjects" | "C_FindObjectsFinal" | "C_GetSessionInfo" => {
            Rule::returning("lost", "C_SignInit", "CKR_KEY_HANDLE_INVALID").times(1)
        }
        "C_OpenSession" | "C_CloseSession" | "C_Login" | "C_GetAttributeValue" => {
            Rule::new("lost", Then::CloseSessions).on("C_SignInit").times(1)
        }
        "C_DestroyObject" => {
            let name = "CKA_EXTRACTABLE".to_owned();
            Rule::new("lie", Then::Attribute(AttributeLie { name, value: AttributeValue::Boolean(true) }))
        }
        "C_SignInit" | "C_Sign" | "C_VerifyInit" | "C_Verify" | "C_GenerateRandom" | "C_GenerateKeyPair"
        | "C_GenerateKey" => return None,
        _ => Rule::new("crash", Then::Crash(Crash::Segv)).on("C_Sign").times(1),
    })
}

async fn survive(round: &Round, function: &'static str, code: &str, often: Often) {
    let case = Case { fault: "any other return code in", function, often: often.as_str() };
    let name = format!("{code} of {}", case.name());
    let mut rules = vec![often.rule(Rule::returning(FAULT, function, code))];
    rules.extend(occasion(function));
    if function == "C_Finalize" {
        rules.push(Rule::returning("first", "C_GetTokenInfo", "CKR_GENERAL_ERROR").times(1));
    }
    round.begin(&rules);
    let burst = round.token.burst(&round.key, 4).await;
    let mut refusals: Vec<&ClientError> = chancery_tests::load::failures(&burst).collect();
    let mac = round.token.mac(&format!("keyRings/{}/keys/m", round.token.ring), b"m").await;
    let random = round.token.random(32).await;
    let ids = [(); 2].map(|()| format!("e{}", round.token.number()));
    let pair = round.token.try_create_key(&ids[0], Algorithm::EcdsaP256Sha256).await;
    let secret = round.token.try_create_key(&ids[1], Algorithm::HmacSha256).await;
    refusals.extend(mac.as_ref().err());
    refusals.extend(random.as_ref().err());
    refusals.extend(pair.as_ref().err());
    refusals.extend(secret.as_ref().err());
    for refusal in &refusals {
        assert!(TOLD.contains(&answer(refusal)), "{name}: {refusal:?}");
    }
    let (asked, refused) = (burst.len() + 4, refusals.len());
    let happened = round.token.faults.count(FAULT).unwrap();
    if code.starts_with("CKR_PIN_") {
        round.token.rules(&[]);
        if function == "C_Login" {
            assert_eq!(round.token.logins(), 1, "{name}: the PIN was tried again");
        }
        if round.token.status().await.health() == TokenHealth::Latched {
            clear_pin_latch(&round.token.operator, &round.token.id).await.unwrap();
        }
    }
    round.public.assert_verifies(&burst);
    round.recover(&case, happened, asked, asked - refused).await;
    round.keep(burst);
    crate::generation::assert_no_orphans(&round.token, &name).await;
}

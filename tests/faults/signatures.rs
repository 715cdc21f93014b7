//! Return codes on the way of a signature.

use chancery_pkcs11_fault::Rule;
use chancery_tests::load::failures;

use crate::round::{Case, FAULT, Met, Round, Rounds};
use crate::table::{Often, Row, UNKNOWN, answer, assert_answers, codes, failed, thorough};

/// What signing calls. A signature is two calls of C_Sign: the first asks how long it will be.
pub const FUNCTIONS: [&str; 2] = ["C_SignInit", "C_Sign"];

#[derive(Debug, Clone, Copy)]
struct Way {
    function: &'static str,
    /// Of two calls, that which makes the signature (true), or that which asks for its length.
    output: Option<bool>,
    often: Often,
}

fn ways() -> Vec<Way> {
    let each = [("C_SignInit", None), ("C_Sign", Some(false)), ("C_Sign", Some(true))];
    each.into_iter().flat_map(|(function, output)| Often::ALL.map(|often| Way { function, output, often })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_return_code_on_the_way_of_a_signature_is_answered_retried_once_and_survived() {
    let rounds =
        Rounds::start("each_return_code_on_the_way_of_a_signature_is_answered_retried_once_and_survived", 8).await;
    let mut cases = Vec::new();
    for (row, code) in codes() {
        // The others of a row are treated as its first one is: once and always will show that they are.
        let telling = |way: &Way| row.codes[0] == code || (way.output == Some(true) && way.often != Often::Tenth);
        cases.extend(ways().into_iter().filter(|way| thorough() || telling(way)).map(|way| (row, code, way)));
    }
    rounds.each(cases, |round, (row, code, way)| async move { survive(&round, row, code, way).await }).await;
    rounds.end().await;
}

async fn survive(round: &Round, row: &Row, code: &str, way: Way) {
    let Way { function, output, often } = way;
    let fault = row.name();
    let place = match output {
        Some(false) => "C_Sign for the length",
        Some(true) | None => function,
    };
    let case = Case { fault: &fault, function: place, often: often.as_str() };
    let rule = often.rule(Rule::returning(FAULT, function, code)).when(|when| when.output = output);
    let Met { burst, happened } = round.meet(&case, &[rule], often.calls()).await;
    let case = format!("{code}: {}", case.name());
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
    round.keep(burst);
}

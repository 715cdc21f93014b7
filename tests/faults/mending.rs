//! What mends a lost session or a stale handle may fail as well.

use chancery_pkcs11_fault::{Rule, Then};

use crate::round::{Case, FAULT, Met, Round, Rounds};
use crate::table::{BUG, Often, Row, UNAVAILABLE, UNKNOWN, assert_answers, firsts, thorough};

/// What mending calls, each with what has to be lost for it.
const STEPS: [(&str, Lost); 8] = [
    ("C_OpenSession", Lost::Sessions),
    ("C_Login", Lost::Sessions),
    ("C_GetAttributeValue", Lost::Sessions),
    ("C_CloseSession", Lost::Session),
    ("C_GetSessionInfo", Lost::Session),
    ("C_FindObjectsInit", Lost::Handle),
    ("C_FindObjects", Lost::Handle),
    ("C_FindObjectsFinal", Lost::Handle),
];

pub const FUNCTIONS: [&str; 8] = {
    let mut functions = [""; 8];
    let mut at = 0;
    while at < 8 {
        functions[at] = STEPS[at].0;
        at += 1;
    }
    functions
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// All sessions, and with them the login.
    Sessions,
    /// One session.
    Session,
    /// The key's handle.
    Handle,
}

impl Lost {
    fn rule(self, often: Often) -> Rule {
        let rule = match self {
            Self::Sessions => Rule::new("lost", Then::CloseSessions).on("C_SignInit"),
            Self::Session => Rule::returning("lost", "C_SignInit", "CKR_SESSION_HANDLE_INVALID"),
            Self::Handle => Rule::returning("lost", "C_SignInit", "CKR_KEY_HANDLE_INVALID"),
        };
        // Again and again, and signing goes on in between.
        if often == Often::Once { rule.times(1) } else { rule.when(|when| when.every = Some(3)) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mends_a_session_or_a_handle_may_fail_as_well() {
    let rounds = Rounds::start("what_mends_a_session_or_a_handle_may_fail_as_well", 8).await;
    let mut cases = Vec::new();
    for (number, (row, code)) in firsts().enumerate() {
        for (place, (function, lost)) in STEPS.into_iter().enumerate() {
            for often in Often::ALL {
                // Every day: once for all, and the others for a third of them, each row and each function among them.
                if often == Often::Once || (number + place) % 3 == 1 || thorough() {
                    cases.push((row, code, function, lost, often));
                }
            }
        }
    }
    rounds
        .each(cases, |round, (row, code, function, lost, often)| async move {
            survive(&round, row, code, function, lost, often).await;
        })
        .await;
    rounds.end().await;
}

async fn survive(round: &Round, row: &Row, code: &str, function: &str, lost: Lost, often: Often) {
    let fault = row.name();
    let case = Case { fault: &fault, function, often: often.as_str() };
    let rules = [lost.rule(often), often.rule(Rule::returning(FAULT, function, code))];
    let Met { burst, happened } = round.meet(&case, &rules, often.calls()).await;
    let case = format!("{code}: {}", case.name());
    // What was lost first, what failed then, and an attempt that was lost with the worker.
    let mut allowed = vec![row.of_the_token(), UNAVAILABLE, UNKNOWN];
    if function == "C_FindObjectsFinal" && often != Often::Once {
        // The token says of the next search that the last one still goes on.
        allowed.push(BUG);
    }
    assert_answers(&case, &burst, &allowed);
    assert!(happened > 0, "{case}: it did not happen");
    round.keep(burst);
}

//! The table of return codes as a caller meets it: what he is told, and whether the token is asked once more.

use chancery_client::ClientError;
use chancery_pkcs11_fault::Rule;
use chancery_tests::load::{Call, failures};
use tonic::Code;

/// What a caller is told.
pub type Answer = (Code, &'static str);

pub const UNKNOWN: Answer = (Code::Unavailable, "TOKEN_OUTCOME_UNKNOWN");
pub const UNAVAILABLE: Answer = (Code::Unavailable, "TOKEN_UNAVAILABLE");
pub const LATCHED: Answer = (Code::Unavailable, "TOKEN_LATCHED");
pub const GENERATE_UNKNOWN: Answer = (Code::Aborted, "TOKEN_OUTCOME_UNKNOWN");
pub const FULL: Answer = (Code::ResourceExhausted, "TOKEN_AT_CAPACITY");
pub const CANNOT: Answer = (Code::FailedPrecondition, "TOKEN_CANNOT");
pub const BUG: Answer = (Code::Internal, "INTERNAL");
pub const WRONG: Answer = (Code::Internal, "TOKEN_SIGNATURE_WRONG");
pub const LENGTH: Answer = (Code::InvalidArgument, "INVALID_FIELD");
pub const GONE: Answer = (Code::FailedPrecondition, "KEY_NOT_IN_TOKEN");
pub const AMBIGUOUS: Answer = (Code::Internal, "KEY_AMBIGUOUS_IN_TOKEN");

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    pub codes: &'static [&'static str],
    /// Whether a signature is asked for once more.
    pub retried: bool,
    /// What a caller of Sign is told in the end.
    pub sign: Answer,
    /// What a caller of CreateKey is told when C_GenerateKeyPair answers so.
    pub generate: Answer,
}

const fn row(codes: &'static [&'static str], retried: bool, sign: Answer, generate: Answer) -> Row {
    Row { codes, retried, sign, generate }
}

/// The table, without the codes of a PIN, which have tests of their own, and without the verdicts of C_Verify.
pub static TABLE: [Row; 12] = [
    row(&["CKR_SESSION_HANDLE_INVALID", "CKR_SESSION_CLOSED"], true, UNAVAILABLE, GENERATE_UNKNOWN),
    // The key is found again each time, and used once more.
    row(&["CKR_KEY_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID"], true, UNAVAILABLE, GONE),
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
pub static VERDICTS: Row = row(&["CKR_SIGNATURE_INVALID", "CKR_SIGNATURE_LEN_RANGE"], true, WRONG, WRONG);

/// The codes of a PIN.
pub const PIN_CODES: [&str; 3] = ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED"];

impl Row {
    /// How the row is called: by its codes.
    pub fn name(&self) -> String {
        let names: Vec<String> =
            self.codes.iter().map(|code| format!("`{}`", code.strip_prefix("CKR_").unwrap_or(code))).collect();
        names.join(", ")
    }

    /// What a caller is told when a step that has nothing to do with his key or his input fails so.
    pub fn of_the_token(&self) -> Answer {
        if self.sign == LENGTH || self.sign == WRONG { UNAVAILABLE } else { self.sign }
    }
}

/// Each code of the table, with its row.
pub fn codes() -> impl Iterator<Item = (&'static Row, &'static str)> {
    TABLE.iter().flat_map(|row| row.codes.iter().map(move |code| (row, *code)))
}

/// The first code of each row.
pub fn firsts() -> impl Iterator<Item = (&'static Row, &'static str)> {
    TABLE.iter().map(|row| (row, row.codes[0]))
}

/// Whether all is asked for (`CHANCERY_FAULTS=all`, long), or what the tests of every day make of it.
pub fn thorough() -> bool {
    std::env::var("CHANCERY_FAULTS").is_ok_and(|which| which == "all")
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Often {
    Once,
    Tenth,
    Always,
}

impl Often {
    pub const ALL: [Self; 3] = [Self::Once, Self::Tenth, Self::Always];

    /// Of the calls to which a rule applies. With this seed the third call of a process is the first that one call in ten is.
    pub fn rule(self, rule: Rule) -> Rule {
        match self {
            Self::Once => rule.times(1),
            Self::Tenth => rule.when(|when| (when.probability, when.seed) = (Some(0.1), Some(SEED))),
            Self::Always => rule,
        }
    }

    /// Signatures that are asked for under the fault. Of thirty, with the same draw each time, some meet it.
    pub const fn calls(self) -> usize {
        match self {
            Self::Once | Self::Always => 10,
            Self::Tenth => 30,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Tenth => "10 %",
            Self::Always => "always",
        }
    }
}

const SEED: u64 = 125;

/// What a failed call was told.
#[track_caller]
pub fn answer(failure: &ClientError) -> (Code, &str) {
    let told = failure.to_string();
    assert!(!told.contains("CKR_") && !told.contains("C_Sign"), "a return code never reaches a caller: {told}");
    match (failure.code(), failure.reason()) {
        (Some(code), Some(reason)) => (code, reason),
        _ => panic!("no refusal of the service: {failure:?}"),
    }
}

#[track_caller]
pub fn assert_answers(case: &str, calls: &[Call], allowed: &[Answer]) {
    for failure in failures(calls) {
        assert!(allowed.contains(&answer(failure)), "{case}: {failure:?} is none of {allowed:?}");
    }
}

pub fn failed(calls: &[Call]) -> usize {
    failures(calls).count()
}

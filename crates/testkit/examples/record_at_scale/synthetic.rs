//! Records as a busy service makes them: a few callers and keys that sign most, many that sign little, now and then a
//! refusal or an act of an administrator. All from a number, so that a search knows what it must find.

use chancery_audit::{
    Act, AuthenticationDetails, Decision, Denial, DenialReason, Details, Hex, Intent, Outcome, OutcomeItem,
    OutcomeResult, SignedDetails,
};
use chancery_crypto::sha256;
use chancery_model::{Action, Sha256Hash, Timestamp, Uid};
use serde_json::json;

/// 2026-01-01T00:00:00Z, in microseconds.
const BEGIN: i64 = 1_767_225_600_000_000;
/// Between two signatures: 86 million in a day.
const STEP: i64 = 1_000;

const POLICY_SET: Sha256Hash = [0xcd; 32];
pub const CALLERS: u64 = 200;
const KEYS: u64 = 500;
const RINGS: u64 = 20;

/// The time of the `n`th signature.
pub fn time(n: u64) -> Timestamp {
    Timestamp::from_unix_micros(BEGIN + i64::try_from(n).unwrap() * STEP)
}

/// The digest of what the `n`th signature is of.
pub fn digest(n: u64) -> Sha256Hash {
    sha256(&n.to_be_bytes())
}

/// The trace id of the `n`th signature.
pub fn trace_id(n: u64) -> String {
    format!("{:032x}", u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

pub fn caller(n: u64) -> String {
    format!("caller-{}", skewed(n, CALLERS))
}

pub fn key(n: u64) -> String {
    let key = skewed(n.wrapping_mul(31), KEYS);
    format!("keyRings/ring-{}/keys/key-{key}", key % RINGS)
}

pub fn action(n: u64) -> Action {
    match n % 20 {
        0 => Action::MacSign,
        1..=3 => Action::SignJwt,
        _ => Action::Sign,
    }
}

/// One of `count`: number 0 in half of all cases, number 1 in a quarter, and so on; each at least now and then.
fn skewed(n: u64, count: u64) -> u64 {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = mixed ^ (mixed >> 29);
    if mixed.is_multiple_of(16) { (mixed >> 8) % count } else { u64::from((mixed >> 8).trailing_zeros()) % count }
}

pub fn uid(n: u64) -> Uid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(n + 1).to_be_bytes());
    Uid::from_bytes(bytes)
}

fn asked(n: u64, action: Action, resource: String) -> Details {
    let caller = caller(n);
    Details {
        authentication: Some(AuthenticationDetails::Certificate {
            identity: format!("spiffe://example.org/{caller}"),
            certificate_sha256: Hex::from([0x0f; 32]),
            certificate_serial: "4a0b17c2".to_owned(),
        }),
        caller: Some(caller),
        source_address: Some("192.0.2.7:50123".to_owned()),
        action: Some(action.to_string()),
        resource: Some(resource),
        trace_id: Some(trace_id(n)),
        ..Details::default()
    }
}

pub fn intent(n: u64) -> Intent {
    let action = action(n);
    let details = Details {
        algorithm: Some("ECDSA_P256_SHA256".to_owned()),
        signed: Some(SignedDetails { hash: "SHA-256".to_owned(), digest: Hex::from(digest(n)) }),
        spki_sha256: Some(Hex::from([0x1b; 32])),
        decision: Some(Decision::Allow),
        policies: vec!["roles.cedar/signer-signs".to_owned()],
        policy_set: Some(Hex::from(POLICY_SET)),
        attributes: Some(json!({
            "context": {"authentication": "certificate", "batch_size": 1, "input_bytes": 512},
            "principal": {"environment": "prod", "groups": ["shop"], "roles": ["signer"]},
            "resource": {"algorithm": "ECDSA_P256_SHA256", "environment": "prod"},
        })),
        ..asked(n, action, format!("{}/versions/1", key(n)))
    };
    Intent {
        time: time(n),
        caller: uid(n % CALLERS),
        resource: uid(n % KEYS),
        action,
        policy_set: POLICY_SET,
        counts: Vec::new(),
        details,
    }
}

pub fn outcome(n: u64, intent: u64) -> Outcome {
    let items = vec![OutcomeItem {
        intent,
        result: OutcomeResult::Done,
        signature_sha256: Some(sha256(&intent.to_be_bytes())),
    }];
    let details = Details {
        caller: Some(caller(n)),
        action: Some(action(n).to_string()),
        resource: Some(format!("{}/versions/1", key(n))),
        ..Details::default()
    };
    Outcome { time: time(n), items, details }
}

pub fn denial(n: u64) -> Denial {
    let reason = DenialReason::NotPermitted;
    let details = Details { decision: Some(Decision::Deny), reason: Some(reason), ..asked(n, Action::Sign, key(n)) };
    Denial {
        second: time(n),
        caller: uid(n % CALLERS),
        resource: uid(n % KEYS),
        action: Some(Action::Sign),
        reason,
        count: 1,
        details,
    }
}

pub fn act(n: u64) -> Act {
    let action = Action::RotateKey;
    let details = Details { decision: Some(Decision::Allow), ..asked(n, action, key(n)) };
    Act {
        time: time(n),
        caller: uid(n % CALLERS),
        resource: uid(n % KEYS),
        action: Some(action),
        policy_set: POLICY_SET,
        details,
        opens: false,
    }
}

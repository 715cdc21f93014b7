//! A token that refused its PIN, and the way back: one login for one recorded word of an operator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;

use chancery_api::v1::{self, TokenHealth, TokenHealthCause};
use chancery_pkcs11_fault::Rule;
use chancery_tests::contract::admin_get;
use chancery_tests::faults::{Faulty, clear_pin_latch};
use chancery_tests::load::{Record, details, token};
use chancery_tests::program::{chancery, command, run};
use tonic::Code;

/// The latches of a service, by their files.
fn latches(faulty: &Faulty) -> Vec<PathBuf> {
    let files = std::fs::read_dir(faulty.chancery.dir().join("locks")).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "pin-latch")).collect()
}

fn pin_file(faulty: &Faulty) -> PathBuf {
    let config: toml::Table = std::fs::read_to_string(faulty.chancery.config()).unwrap().parse().unwrap();
    faulty.chancery.dir().join(config["token"][0]["pin_file"].as_str().unwrap())
}

/// Has the worker log in again, and be refused.
async fn latch(faulty: &Faulty, key: &str) {
    let latched = faulty.latch(key).await;
    assert_eq!(latched.health_cause(), TokenHealthCause::PinRefused);
    assert!(latched.health_reason.contains("clear-pin-latch"), "{latched:?}");
    assert_eq!(latched.next_attempt_time, None, "nothing is tried by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lets_one_login_be_tried_and_the_record_says_so() {
    let mut faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    // Nobody has refused anything: then nothing is tried, and nothing recorded.
    faulty.faults.clear_log().unwrap();
    let early = clear_pin_latch(&faulty.operator, "main").await.unwrap_err();
    assert_eq!((early.code(), early.reason()), (Some(Code::FailedPrecondition), Some("TOKEN_NOT_LATCHED")));
    let bystander = faulty.bystander().await;
    latch(&faulty, &key).await;
    assert_eq!((faulty.logins(), latches(&faulty).len()), (1, 1));
    bystander.assert_unaffected().await;

    // Across a restart, which the other token's callers do not have to do without.
    faulty.restart().await.unwrap();
    assert_eq!(token(&faulty.operator).await.health(), TokenHealth::Latched);
    let bystander = faulty.bystander().await;
    let (_, words) = admin_get(&faulty.chancery, "/readyz").await;
    assert!(words.starts_with("ready\ntokens/main: latched: the token refused its PIN"), "{words}");
    assert_eq!(faulty.logins(), 1, "a restart tries no PIN");

    // It is refused again: for one word one attempt, and never a kind of answer that clients repeat by themselves.
    let refused = clear_pin_latch(&faulty.operator, "main").await.unwrap_err();
    assert_eq!((refused.code(), refused.reason()), (Some(Code::FailedPrecondition), Some("TOKEN_LATCHED")));
    assert!(refused.to_string().contains("refused the PIN again"), "{refused}");
    assert_eq!((faulty.logins(), latches(&faulty).len()), (2, 1));
    assert_eq!(token(&faulty.operator).await.health(), TokenHealth::Latched);
    // Nor does another failure of that login open it, or have it repeated.
    faulty.rules(&[Rule::returning("odd", "C_Login", "CKR_DEVICE_ERROR")]);
    let odd = clear_pin_latch(&faulty.operator, "main").await.unwrap_err();
    assert_eq!((odd.code(), odd.reason()), (Some(Code::FailedPrecondition), Some("TOKEN_LATCHED")));
    assert_eq!((faulty.logins(), latches(&faulty).len()), (3, 1));
    // Who signs does not get to try.
    let denied = clear_pin_latch(&faulty.caller, "main").await.unwrap_err();
    assert_eq!((denied.code(), denied.reason()), (Some(Code::PermissionDenied), Some("ACCESS_DENIED")));
    let unknown = clear_pin_latch(&faulty.operator, "none").await.unwrap_err();
    assert_eq!((unknown.code(), unknown.reason()), (Some(Code::PermissionDenied), Some("ACCESS_DENIED")));

    faulty.rules(&[]);
    let up = clear_pin_latch(&faulty.operator, "main").await.unwrap();
    assert_eq!((up.health(), up.health_reason.as_str()), (TokenHealth::Up, ""));
    assert_eq!((faulty.logins(), latches(&faulty).len()), (4, 0));
    let signed = faulty.burst(&key, 10).await;
    assert!(signed.iter().all(|call| call.end.is_ok()), "{signed:?}");
    public.assert_verifies(&signed);
    let again = clear_pin_latch(&faulty.operator, "main").await.unwrap_err();
    assert_eq!(again.reason(), Some("TOKEN_NOT_LATCHED"));
    assert_eq!(faulty.logins(), 4);
    bystander.assert_unaffected().await;

    let record = Record::read_settled(&faulty.operator).await;
    let acts: Vec<&v1::AuditRecord> = record.acts("ClearPinLatch", "tokens/main").collect();
    let ends: Vec<&str> = acts.iter().map(|act| record.end(act.index).unwrap().result.as_str()).collect();
    assert_eq!(ends, ["FAILED", "FAILED", "DONE"], "each attempt is on the record, with its outcome");
    for act in acts {
        assert_eq!(act.caller, "callers/operator");
        assert_eq!(details(act)["message"], "the PIN was put right");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pin_file_is_read_anew_by_the_command() {
    let faulty = Faulty::start().await;
    let (key, _) = faulty.key("k").await;
    latch(&faulty, &key).await;
    let file = pin_file(&faulty);
    let right = std::fs::read_to_string(&file).unwrap();
    let folder = faulty.chancery.dir();
    let clear = || {
        let mut clear = command(chancery());
        clear.arg("token").args(["clear-pin-latch", "main", "--reason", "CHG-4711", "--output", "json"]);
        run(clear.arg("--dev").arg(&folder))
    };
    // From here on the real token judges.
    faulty.rules(&[]);
    faulty.faults.clear_log().unwrap();
    std::fs::remove_file(&file).unwrap();
    let (said, code) = clear();
    assert!(code != Some(0) && said.contains("its PIN file cannot be used"), "{said}");
    assert_eq!(faulty.logins(), 0, "without a PIN there is no login");
    for wrong in ["wrong-canary-1\n", "wrong-canary-2\n"] {
        write_private(&file, wrong);
        let (said, code) = clear();
        assert!(code != Some(0) && said.contains("refused the PIN again"), "{said}");
        assert!(!said.contains(wrong.trim()), "{said}");
    }
    assert_eq!((faulty.logins(), latches(&faulty).len()), (2, 1));
    write_private(&file, &right);
    let (said, code) = clear();
    assert_eq!(code, Some(0), "{said}");
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&shown["health"], &shown["health_cause"]), (&"UP".into(), &"".into()), "{said}");
    assert_eq!((faulty.logins(), latches(&faulty).len()), (3, 0));
    assert!(faulty.sign(&key).await.end.is_ok());
}

fn write_private(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

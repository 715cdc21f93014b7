//! Kills at steps that a service under load does not come past: between the record of a destruction and the token's act, and
//! between an operator's word and the one login that it allows.

use chancery_api::v1::{self, KeyState};
use chancery_fail_point::{FAIL_POINT_VARIABLE, FailPoint};
use chancery_testkit::{Chancery, Module};
use chancery_tests::faults::{Faulty, clear_pin_latch};
use chancery_tests::load::{Record, create_key, sign, token, until};
use std::os::unix::process::ExitStatusExt as _;

use crate::token_files::TokenFiles;

/// Those of this file.
pub const POINTS: [FailPoint; 8] = [
    FailPoint::DestructionBegun,
    FailPoint::VersionDestroyed,
    FailPoint::LatchClearing,
    FailPoint::LoginTried,
    FailPoint::LeavesCopied,
    FailPoint::LeavesEmptied,
    FailPoint::StateSecretMade,
    FailPoint::StateSealed,
];

/// Starts the service anew so that it dies at the first pass of a point, or at none.
async fn start_again(chancery: &mut Chancery, point: Option<FailPoint>) {
    let point = point.map(|point| format!("{}:1", point.name()));
    chancery.set_environment(FAIL_POINT_VARIABLE, point.as_deref());
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
}

async fn killed_itself(chancery: &mut Chancery, point: FailPoint) {
    let status = until(&format!("it dies at {}", point.name()), async || chancery.ended().unwrap()).await;
    assert_eq!(status.signal(), Some(9), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_that_was_recorded_is_done_once_after_a_kill() {
    if !chancery_fail_point::ARMED {
        return;
    }
    for point in [FailPoint::DestructionBegun, FailPoint::VersionDestroyed] {
        let mut chancery = Chancery::setup().module(Module::SoftHsm).start().await.unwrap();
        let kept = create_key(&chancery.operator().await.unwrap(), "kept").await;
        chancery.terminate().await.unwrap();
        start_again(&mut chancery, Some(point)).await;
        let operator = chancery.operator().await.unwrap();
        let version = format!("{}/versions/1", create_key(&operator, "old").await);
        let mut files = TokenFiles::default();
        // With the key that signs the log.
        assert_eq!(files.read(&chancery.dir()).private, 3);
        let request = v1::ScheduleKeyVersionDestructionRequest {
            name: version.clone(),
            grace_period: Some(prost_types::Duration::default()),
            reason: "a crash test".to_owned(),
        };
        // The answer may be lost with the service; what it asked for is not.
        let _answer = operator.keys().schedule_key_version_destruction(request).await;
        killed_itself(&mut chancery, point).await;
        let left = files.read(&chancery.dir()).private;
        assert_eq!(left, if point == FailPoint::DestructionBegun { 3 } else { 2 }, "{}", point.name());

        start_again(&mut chancery, None).await;
        let operator = chancery.operator().await.unwrap();
        until("it is destroyed", async || {
            let request = v1::GetKeyVersionRequest { name: version.clone() };
            let found = operator.keys().get_key_version(request).await.unwrap().into_inner();
            (found.state() == KeyState::Destroyed).then_some(())
        })
        .await;
        assert_eq!(files.read(&chancery.dir()).private, 2, "{}", point.name());
        let record = Record::read(&operator).await;
        let begun: Vec<u64> = record.acts("", &version).map(|act| act.index).collect();
        assert_eq!(begun.len(), 1, "{}: begun once, by the service itself", point.name());
        assert_eq!(record.end(begun[0]).unwrap().result, "DONE", "{}", point.name());
        sign(&chancery.caller().await.unwrap(), &kept, "another key").await.unwrap();
        chancery.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_an_operator_allowed_is_tried_at_most_once_whatever_dies() {
    if !chancery_fail_point::ARMED {
        return;
    }
    for (point, logins) in [(FailPoint::LatchClearing, 0), (FailPoint::LoginTried, 1)] {
        let mut faulty = Faulty::start().await;
        let (key, _) = faulty.key("k").await;
        faulty.latch(&key).await;
        faulty.chancery.terminate().await.unwrap();
        start_again(&mut faulty.chancery, Some(point)).await;
        faulty.faults.clear_log().unwrap();
        let operator = faulty.chancery.operator().await.unwrap();
        let lost = clear_pin_latch(&operator, "main").await.unwrap_err();
        assert!(lost.refusal().is_none(), "the connection broke: {lost}");
        killed_itself(&mut faulty.chancery, point).await;
        assert_eq!(faulty.logins(), logins, "{}", point.name());

        start_again(&mut faulty.chancery, None).await;
        let operator = faulty.chancery.operator().await.unwrap();
        assert_eq!(token(&operator).await.health(), v1::TokenHealth::Latched, "{}", point.name());
        assert_eq!(faulty.logins(), logins, "{}: a start tries no PIN", point.name());
        let record = Record::read(&operator).await;
        let acts: Vec<u64> = record.acts("ClearPinLatch", "tokens/main").map(|act| act.index).collect();
        assert_eq!(acts.len(), 1);
        assert_eq!(record.end(acts[0]).unwrap().result, "UNKNOWN", "{}", point.name());
        // Another word, another login; and this time it is the right PIN.
        faulty.rules(&[]);
        let up = clear_pin_latch(&operator, "main").await.unwrap();
        assert_eq!((up.health(), faulty.logins()), (v1::TokenHealth::Up, logins + 1), "{}", point.name());
        sign(&faulty.chancery.caller().await.unwrap(), &key, "again").await.unwrap();
    }
}

/// A database with rows that was never sealed: the service dies while it seals it for the first time, and goes on at the next
/// start, with one secret in the token.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_sealing_that_died_is_done_at_the_next_start() {
    if !chancery_fail_point::ARMED {
        return;
    }
    for point in [FailPoint::StateSecretMade, FailPoint::StateSealed] {
        let without = |seal: bool| {
            move |config: &mut toml::Table| {
                let store = config.get_mut("store").and_then(toml::Value::as_table_mut).unwrap();
                store.insert("state_root".to_owned(), seal.into());
            }
        };
        let mut chancery = Chancery::setup().module(Module::SoftHsm).configure(without(false)).start().await.unwrap();
        let key = create_key(&chancery.operator().await.unwrap(), "k").await;
        chancery.terminate().await.unwrap();
        chancery.configure(without(true)).unwrap();
        let armed = format!("{}:1", point.name());
        chancery.set_environment(FAIL_POINT_VARIABLE, Some(&armed));
        chancery.launch().unwrap();
        killed_itself(&mut chancery, point).await;
        start_again(&mut chancery, None).await;
        sign(&chancery.caller().await.unwrap(), &key, "after it").await.unwrap();
        chancery.terminate().await.unwrap();
        start_again(&mut chancery, None).await;
        chancery.stop().await.unwrap();
    }
}

//! What the rules of keys make the service do, under a clock that the tests set: on time, late, once, and after the clock
//! was set back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::time::Duration;

use chancery_api::v1;
use chancery_core::{Error, KeyOrVersion, KeySetOf, RotateKey, RuleChanges, UpdateKey};
use chancery_model::KeyState::{Active, Deactivated, DestroyScheduled, Destroyed, PreActive};
use chancery_model::{KeyName, KeyState};
use chancery_pkcs11_fault::{Hang, Rule, Then};
use chancery_tests::faults::Faulty;
use chancery_tests::load::{sign, until};
use chancery_tests::office::{DAY, Office};

fn days(days: u32) -> Option<Option<Duration>> {
    Some(Some(DAY * days))
}

/// Rotated every 90 days, published a week ahead, signing for 180 days.
fn quarterly() -> RuleChanges {
    RuleChanges {
        rotation_period: days(90),
        publish_ahead: days(7),
        signing_period: days(180),
        ..RuleChanges::default()
    }
}

async fn published(office: &Office, key: &KeyName) -> usize {
    let of = KeySetOf::Key(key.clone());
    office.core.published_keys(&office.requester("signer"), of).await.unwrap().len()
}

async fn update(office: &Office, key: &KeyName, rules: RuleChanges) {
    let request = UpdateKey { name: key.clone(), etag: None, labels: None, max_jwt_lifetime: None, rules };
    office.core.update_key(&office.requester("keeper"), request).await.unwrap();
}

async fn schedule_destruction(office: &Office, key: &KeyName, version: u32, grace: Duration) {
    let name = key.version(version);
    let keeper = office.requester("keeper");
    office.core.schedule_key_version_destruction(&keeper, name, Some(grace), String::new()).await.unwrap();
}

#[tokio::test]
async fn versions_are_published_take_over_and_retire_on_their_days() {
    let office = Office::open().await;
    let key = office.create("jwt", quarterly()).await;
    office.live(82).await;
    assert_eq!(office.states(&key).await, [Active], "nothing before its time");
    office.live(1).await;
    assert_eq!(office.states(&key).await, [Active, PreActive]);
    assert_eq!(published(&office, &key).await, 2, "verifiers know it a week before it signs");
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(1));
    office.live(6).await;
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(1));
    office.live(1).await;
    assert_eq!(office.states(&key).await, [Active, Active]);
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(2));
    office.live(89).await;
    assert_eq!(office.states(&key).await, [Active, Active, PreActive]);
    office.live(1).await;
    assert_eq!(office.states(&key).await, [Deactivated, Active, Active], "half a year of signing is over");
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(3));
    assert_eq!(published(&office, &key).await, 3, "what it signed can still be verified");
    // Years later there is a version for each quarter, no more, and each but the last two has retired.
    office.live(4 * 90).await;
    let states = office.states(&key).await;
    assert_eq!(states.len(), 7);
    assert!(states[..5].iter().all(|state| *state == Deactivated), "{states:?}");
    assert_eq!(states[5..], [Active, Active]);
}

#[tokio::test]
async fn after_a_long_time_without_service_a_key_is_rotated_once_and_is_never_without_a_version_that_signs() {
    let office = Office::open().await;
    let in_time = office.create("in-time", RuleChanges { signing_period: None, ..quarterly() }).await;
    let late = office.create("late", quarterly()).await;
    let plain = office.create("plain", RuleChanges { rotation_period: days(30), ..RuleChanges::default() }).await;
    let office = office.reopen().await;
    office.pass(DAY * 1000);
    office.look().await;
    // The old version still may sign, so that the new one is published for a week first.
    assert_eq!(office.states(&in_time).await, [Active, PreActive]);
    // The old version's time is over: verifiers must make do without warning.
    assert_eq!(office.states(&late).await, [Deactivated, Active]);
    assert_eq!(office.states(&plain).await, [Active, Active]);
    for key in [&in_time, &late, &plain] {
        office.sign(key).await.unwrap();
    }
    assert_eq!(office.look().await, [""; 0], "once, and not once for each period that went by");
    office.live(7).await;
    assert_eq!(office.states(&in_time).await, [Active, Active]);
    // The rhythm of 30 days is that of the beginning: 1000 = 33 * 30 + 10, and a week has gone.
    office.live(12).await;
    assert_eq!(office.states(&plain).await.len(), 2);
    office.live(1).await;
    assert_eq!(office.states(&plain).await.len(), 3);
}

#[tokio::test]
async fn a_clock_that_is_set_back_repeats_nothing_and_puts_nothing_off_for_ever() {
    let office = Office::open().await;
    let start = office.now();
    let key = office.create("jwt", RuleChanges { rotation_period: days(90), ..RuleChanges::default() }).await;
    office.pass(DAY * 90);
    assert_eq!(office.look().await, ["make-next jwt"]);
    office.set_clock(start);
    for _ in 0..24 {
        office.pass(Duration::from_secs(60));
        office.look().await;
    }
    assert_eq!(office.states(&key).await.len(), 2, "the same day again makes no other version");
    let next = |view: chancery_core::KeyView| view.entry.rules.next_rotation.unwrap();
    let keeper = office.requester("keeper");
    let planned = next(office.core.get_key(&keeper, key.clone()).await.unwrap());
    assert!(planned <= office.now().after(DAY * 90), "and the next one is not half a year away");
    // A clock that was wrong by years, and then is right again.
    office.pass(DAY * 10_000);
    office.look().await;
    office.set_clock(start.after(DAY));
    assert_eq!(office.look().await, ["correct-plan jwt"]);
    assert_eq!(next(office.core.get_key(&keeper, key.clone()).await.unwrap()), office.now().after(DAY * 90));
    assert_eq!(office.look().await, [""; 0]);
    office.pass(DAY * 90);
    assert_eq!(office.look().await, ["make-next jwt"]);
}

#[tokio::test]
async fn a_version_that_was_made_under_a_wrong_clock_does_not_wait_for_years() {
    let office = Office::open().await;
    let start = office.now();
    let key = office.create("jwt", RuleChanges { signing_period: None, ..quarterly() }).await;
    office.pass(DAY * 1000);
    assert_eq!(office.look().await, ["make-next jwt"]);
    assert_eq!(office.states(&key).await, [Active, PreActive]);
    office.set_clock(start.after(DAY));
    assert_eq!(office.look().await, ["correct-plan jwt"]);
    assert_eq!(office.look().await, [""; 0]);
    // The rotation itself was planned under the right clock, and is as it was.
    office.live(88).await;
    assert_eq!(office.states(&key).await, [Active, PreActive]);
    office.live(1).await;
    assert_eq!(office.states(&key).await, [Active, Active]);
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(2));
}

/// Of one token that hangs in the making of a key, the keys of others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_hangs_keeps_no_key_of_another_waiting() {
    let faulty = Faulty::with_tokens(2).await;
    let [hanging, other] = faulty.tokens() else { panic!("two tokens") };
    // Of the ring "dev", which comes first.
    let mut keys = Vec::new();
    for token in [hanging, other] {
        let key = v1::Key {
            algorithm: v1::Algorithm::EcdsaP256Sha256.into(),
            rotation_period: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            ..v1::Key::default()
        };
        let parent = format!("keyRings/{}", token.ring);
        let request =
            v1::CreateKeyRequest { parent, key_id: "k".to_owned(), key: Some(key), request_id: String::new() };
        keys.push(faulty.operator.keys().create_key(request).await.unwrap().into_inner().name);
    }
    hanging.rules(&[Rule::new("hung", Then::Hang(Hang::ForEver)).on("C_GenerateKeyPair").times(1)]);
    until("one hangs", async || (hanging.faults.count("hung").unwrap() == 1).then_some(())).await;
    let versions = async |key: &str| {
        let request = v1::ListKeyVersionsRequest { parent: key.to_owned(), page_size: 1000, ..Default::default() };
        faulty.operator.keys().list_key_versions(request).await.unwrap().into_inner().key_versions
    };
    let before = versions(&keys[1]).await.len();
    until("the other one goes on", async || (versions(&keys[1]).await.len() >= before + 3).then_some(())).await;
    let still = versions(&keys[0]).await;
    assert!(still.iter().any(|version| version.state() == v1::KeyState::PendingGeneration), "it hangs: {still:?}");
}

/// While the token takes its time, several looks go by at which the old version's signing period is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_while_its_next_version_is_still_being_made() {
    let faulty = Faulty::start().await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let key = v1::Key {
        algorithm: v1::Algorithm::EcdsaP256Sha256.into(),
        rotation_period: seconds(3),
        signing_period: seconds(3),
        ..v1::Key::default()
    };
    let second = format!("chancery:{}/k/2", faulty.ring);
    faulty.rules(&[Rule::new("slow", Then::Hang(Hang::UntilRemoved))
        .on("C_GenerateKeyPair")
        .when(|when| when.label = Some(second))]);
    let parent = format!("keyRings/{}", faulty.ring);
    let request = v1::CreateKeyRequest { parent, key_id: "k".to_owned(), key: Some(key), request_id: String::new() };
    let key = faulty.operator.keys().create_key(request).await.unwrap().into_inner().name;
    until("the next version is being made", async || (faulty.faults.count("slow").unwrap() == 1).then_some(())).await;
    let states = async || {
        let request = v1::ListKeyVersionsRequest { parent: key.clone(), page_size: 1000, ..Default::default() };
        let versions = faulty.operator.keys().list_key_versions(request).await.unwrap().into_inner().key_versions;
        versions.iter().map(|version| (version.name.clone(), version.state())).collect::<Vec<_>>()
    };
    let first = format!("{key}/versions/1");
    // The scheduler looks once a second.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(sign(&faulty.caller, &key, "m").await.unwrap().version.to_string(), first);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(states().await.contains(&(first.clone(), v1::KeyState::Active)));
    faulty.rules(&[]);
    until("the old version's time ends when there is another", async || {
        states().await.contains(&(first.clone(), v1::KeyState::Deactivated)).then_some(())
    })
    .await;
    assert_ne!(sign(&faulty.caller, &key, "m").await.unwrap().version.to_string(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn schedulers_at_the_same_time_do_everything_once() {
    let office = Office::open().await;
    let mut keys = Vec::new();
    for number in 0..6 {
        keys.push(office.create(&format!("k{number}"), quarterly()).await);
    }
    let mut done = Vec::new();
    for _ in 0..3 {
        office.pass(DAY * 83);
        let looks: Vec<_> = (0..4)
            .map(|_| {
                let core = office.core.clone();
                tokio::spawn(async move { core.act_on_schedule().await })
            })
            .collect();
        for look in looks {
            let report = look.await.unwrap();
            // Somebody else may have been faster in the middle of it, which is no failure.
            assert!(report.failed.is_empty(), "{:?}", report.failed);
            done.extend(report.done.into_iter().map(|(key, due)| (key, due, office.now())));
        }
    }
    let count = done.len();
    done.sort_by_key(|(key, due, at)| (key.clone(), format!("{due:?}"), *at));
    done.dedup();
    assert_eq!(done.len(), count, "the same act twice");
    for key in &keys {
        let versions = office.versions(key).await;
        let numbers: Vec<u32> = versions.iter().map(|version| version.name.version).collect();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
        assert_eq!(office.states(key).await, office.states(&keys[0]).await);
        office.sign(key).await.unwrap();
    }
}

#[tokio::test]
async fn a_version_is_destroyed_when_its_grace_period_is_over_and_not_while_its_key_is_protected() {
    let office = Office::open().await;
    let key = office.create("old", RuleChanges::default()).await;
    let version = office.versions(&key).await.remove(0);
    assert!(office.objects_of(&version).await > 0);
    schedule_destruction(&office, &key, 1, DAY * 30).await;
    office.live(29).await;
    assert_eq!(office.states(&key).await, [DestroyScheduled]);
    let protect = |protected| RuleChanges { deletion_protection: Some(protected), ..RuleChanges::default() };
    update(&office, &key, protect(true)).await;
    office.live(10).await;
    assert_eq!(office.states(&key).await, [DestroyScheduled], "protected, although its time is over");
    assert!(office.objects_of(&version).await > 0);
    update(&office, &key, protect(false)).await;
    assert_eq!(office.look().await, ["destroy old"]);
    assert_eq!(office.states(&key).await, [Destroyed]);
    assert_eq!(office.objects_of(&version).await, 0, "gone from the token");
    assert_eq!(office.look().await, [""; 0]);
}

#[tokio::test]
async fn a_published_version_moves_with_the_next_rotation_and_waits_without_one() {
    let office = Office::open().await;
    let key = office.create("jwt", RuleChanges { signing_period: None, ..quarterly() }).await;
    office.live(84).await;
    assert_eq!(office.states(&key).await, [Active, PreActive]);
    // Brought forward.
    let tomorrow = office.now().after(DAY);
    update(&office, &key, RuleChanges { next_rotation: Some(tomorrow), ..RuleChanges::default() }).await;
    office.live(1).await;
    assert_eq!(office.states(&key).await, [Active, Active]);
    office.live(85).await;
    assert_eq!(office.states(&key).await, [Active, Active, PreActive]);
    let off = RuleChanges { rotation_period: Some(None), publish_ahead: Some(None), ..RuleChanges::default() };
    update(&office, &key, off).await;
    office.live(100).await;
    assert_eq!(office.states(&key).await, [Active, Active, PreActive], "without a rule nothing happens by itself");
    let rotate = RotateKey { name: key.clone(), etag: None, request_id: None };
    office.core.rotate_key(&office.requester("keeper"), rotate).await.unwrap();
    assert_eq!(office.states(&key).await, [Active, Active, Active]);
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(3));
}

#[tokio::test]
async fn what_the_token_cannot_do_now_is_still_due() {
    let office = Office::open().await;
    let key = office.create("jwt", RuleChanges { rotation_period: days(90), ..RuleChanges::default() }).await;
    office.pass(DAY * 90);
    // The token is let go, as at a shutdown: nothing can be made in it.
    office.token.shutdown().await;
    let report = office.core.act_on_schedule().await;
    let [(failed, due, error)] = report.failed.as_slice() else { panic!("{report:?}") };
    assert_eq!((failed, due.as_str()), (&key, "make-next"));
    assert!(matches!(error, Error::Device { .. }), "{error}");
    assert_eq!(office.states(&key).await, [Active], "the reservation was taken back");
    let office = office.reopen().await;
    assert_eq!(office.look().await, ["make-next jwt"]);
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(2));
}

#[tokio::test]
async fn a_version_signs_for_no_longer_although_the_next_one_cannot_be_made() {
    let office = Office::open().await;
    let rules = RuleChanges { rotation_period: days(90), signing_period: days(90), ..RuleChanges::default() };
    let key = office.create("jwt", rules).await;
    office.pass(DAY * 90);
    office.token.shutdown().await;
    let report = office.core.act_on_schedule().await;
    let [(_, due, _)] = report.failed.as_slice() else { panic!("{report:?}") };
    assert_eq!(due.as_str(), "make-next");
    assert_eq!(office.states(&key).await, [Deactivated]);
}

#[tokio::test]
async fn a_version_whose_destruction_is_cancelled_after_its_successor_took_over_does_not_come_back() {
    let office = Office::open().await;
    let key = office.create("jwt", RuleChanges { signing_period: None, ..quarterly() }).await;
    office.live(84).await;
    assert_eq!(office.states(&key).await, [Active, PreActive]);
    schedule_destruction(&office, &key, 2, DAY * 60).await;
    office.live(1).await;
    assert_eq!(office.states(&key).await, [Active, DestroyScheduled, PreActive]);
    office.live(10).await;
    assert_eq!(office.states(&key).await, [Active, DestroyScheduled, Active]);
    let keeper = office.requester("keeper");
    office.core.cancel_key_version_destruction(&keeper, key.version(2), String::new()).await.unwrap();
    assert_eq!(office.look().await, [""; 0], "nobody asked for a rotation");
    assert_eq!(office.sign(&key).await.unwrap().version, key.version(3));
}

#[tokio::test]
async fn the_primary_version_is_deactivated_too_where_nothing_follows_it() {
    let office = Office::open().await;
    let rules = RuleChanges { signing_period: days(30), ..RuleChanges::default() };
    let key = office.create("ending", rules).await;
    office.live(29).await;
    office.sign(&key).await.unwrap();
    office.live(1).await;
    assert_eq!(office.states(&key).await, [Deactivated]);
    let refused = office.sign(&key).await.unwrap_err();
    assert!(matches!(refused, Error::NotActive { state: KeyState::Deactivated, .. }), "{refused}");
    let name = KeyOrVersion::Version(key.version(1));
    office.core.get_public_key(&office.requester("signer"), name).await.unwrap();
}

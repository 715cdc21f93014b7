//! Changes against calls in flight: a call that begins after a change was answered is decided under it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Instant;

use chancery_api::v1;
use chancery_client::Client;
use chancery_testkit::Chancery;
use chancery_tests::load::{Call, Load, Record, create_key, failures, sign, try_create_key, until};
use tokio::task::JoinSet;
use tonic::Code;

/// A time during which calls had to be refused: from the answer that forbade them to the request that allowed them again.
struct Closed {
    from: Instant,
    until: Instant,
}

impl Closed {
    /// Whether all of a call lies in it.
    fn holds(&self, call: &Call) -> bool {
        call.began > self.from && call.ended < self.until
    }
}

/// Signs with one key over several connections while `close` and `open` take turns; answers the calls and the times in
/// between, in each of which calls were made.
async fn signs_while(
    chancery: &Chancery,
    key: &str,
    rounds: usize,
    close: impl AsyncFn(),
    open: impl AsyncFn(),
) -> (Vec<Call>, Vec<Closed>) {
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(chancery.caller().await.unwrap());
    }
    let load = Load::start(&clients, 6, key);
    let mut times = Vec::new();
    for _ in 0..rounds {
        load.wait_for_signatures(200).await;
        close().await;
        let from = Instant::now();
        load.wait_for(100, "ended after the change", |call| call.began > from).await;
        let until = Instant::now();
        open().await;
        times.push(Closed { from, until });
    }
    load.wait_for_signatures(200).await;
    (load.stop().await, times)
}

/// Calls within the closed times were refused for `reason`, and nothing was refused for anything else.
fn assert_refused(calls: &[Call], times: &[Closed], reason: &str) {
    for failure in failures(calls) {
        // STATE_CHANGING: the state changed three times while one call was decided; nothing was done.
        assert!([Some(reason), Some("STATE_CHANGING")].contains(&failure.reason()), "{failure:?}");
    }
    for time in times {
        let within: Vec<&Call> = calls.iter().filter(|call| time.holds(call)).collect();
        assert!(!within.is_empty());
        let allowed: Vec<_> = within.iter().filter_map(|call| call.end.as_ref().ok()).collect();
        assert!(allowed.is_empty(), "began after the change was answered, and was allowed: {allowed:?}");
    }
}

/// The record tells the same: no intent of the key between an index that forbids and the next one that allows.
fn assert_no_intent_between(record: &Record, key: &str, closed: &[u64], opened: &[u64]) {
    assert_eq!(closed.len(), opened.len());
    for (closed, opened) in closed.iter().zip(opened) {
        assert!(closed < opened);
        let between = record
            .intents()
            .filter(|intent| intent.resource.starts_with(key) && (*closed..*opened).contains(&intent.index))
            .map(|intent| intent.index);
        assert_eq!(between.collect::<Vec<_>>(), Vec::<u64>::new(), "between {closed} and {opened}");
    }
}

fn indexes<'a>(acts: impl Iterator<Item = &'a v1::AuditRecord>) -> Vec<u64> {
    acts.map(|act| act.index).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_begins_after_a_suspension_signs() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let version = format!("{key}/versions/1");
    let suspend = async || {
        let request = v1::SuspendKeyVersionRequest { name: version.clone(), reason: "a test".to_owned() };
        let answer = operator.keys().suspend_key_version(request).await.unwrap().into_inner();
        assert_eq!(answer.open_intents, Vec::<u64>::new(), "it waited for what was under way");
    };
    let resume = async || {
        let request = v1::ResumeKeyVersionRequest { name: version.clone(), reason: "the test goes on".to_owned() };
        let answer = operator.keys().resume_key_version(request).await.unwrap().into_inner();
        assert_eq!(answer.state(), v1::KeyState::Active);
    };
    let (calls, times) = signs_while(&chancery, &key, 5, suspend, resume).await;
    assert_refused(&calls, &times, "KEY_VERSION_NOT_ACTIVE");
    assert!(calls.len() >= 5 * 300, "{} calls", calls.len());

    let record = Record::read_settled(&operator).await;
    record.assert_holds(&calls);
    let suspended = indexes(record.acts("SuspendKeyVersion", &version));
    let resumed = indexes(record.acts("ResumeKeyVersion", &version));
    assert_eq!(suspended.len(), 5);
    assert_no_intent_between(&record, &key, &suspended, &resumed);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_begins_after_a_freeze_of_the_ring_signs() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let ring = "keyRings/dev";
    let freeze = async || {
        let request = v1::FreezeKeyRingRequest { name: ring.to_owned(), reason: "a test".to_owned() };
        let answer = operator.keys().freeze_key_ring(request).await.unwrap().into_inner();
        assert_eq!(answer.open_intents, Vec::<u64>::new(), "it waited for what was under way");
    };
    let unfreeze = async || {
        let request = v1::UnfreezeKeyRingRequest { name: ring.to_owned(), reason: "the test goes on".to_owned() };
        let answer = operator.keys().unfreeze_key_ring(request).await.unwrap().into_inner();
        assert_eq!(answer.state(), v1::KeyRingState::Active);
    };
    let (calls, times) = signs_while(&chancery, &key, 5, freeze, unfreeze).await;
    assert_refused(&calls, &times, "KEY_RING_FROZEN");
    assert!(calls.len() >= 5 * 300, "{} calls", calls.len());

    let record = Record::read_settled(&operator).await;
    record.assert_holds(&calls);
    let frozen = indexes(record.acts("FreezeKeyRing", ring));
    let unfrozen = indexes(record.acts("UnfreezeKeyRing", ring));
    assert_eq!(frozen.len(), 5);
    assert_no_intent_between(&record, &key, &frozen, &unfrozen);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_begins_after_a_policy_set_is_decided_by_the_old_one() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let roles = policy_set(&operator).await.documents;
    let stop = v1::PolicyDocument {
        name: "stop.cedar".to_owned(),
        text: r#"@id("stop") forbid (principal, action == Chancery::Action::"Sign", resource);"#.to_owned(),
    };
    let stopped: Vec<_> = roles.iter().cloned().chain([stop]).collect();
    let apply = async |documents: &[v1::PolicyDocument]| {
        let etag = policy_set(&operator).await.etag;
        let request = v1::ApplyPolicySetRequest { documents: documents.to_vec(), etag };
        operator.policy().apply_policy_set(request).await.unwrap();
    };
    let (calls, times) =
        signs_while(&chancery, &key, 4, async || apply(&stopped).await, async || apply(&roles).await).await;
    assert_refused(&calls, &times, "ACCESS_DENIED");

    let record = Record::read_settled(&operator).await;
    record.assert_holds(&calls);
    // The first one came with the configuration.
    let applied = indexes(record.acts("ApplyPolicySet", "policySet").skip(1));
    let (closed, opened) = (applied.iter().step_by(2).copied(), applied.iter().skip(1).step_by(2).copied());
    assert_eq!(applied.len(), 8);
    assert_no_intent_between(&record, &key, &closed.collect::<Vec<_>>(), &opened.collect::<Vec<_>>());
}

async fn policy_set(operator: &Client) -> v1::PolicySet {
    operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_begins_after_a_caller_was_suspended_signs() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let name = "callers/caller".to_owned();
    let suspend = async || {
        let request = v1::SuspendCallerRequest { name: name.clone(), reason: "a test".to_owned() };
        let answer = operator.callers().suspend_caller(request).await.unwrap().into_inner();
        assert_eq!(answer.open_intents, Vec::<u64>::new(), "it waited for what was under way");
    };
    let resume = async || {
        let request = v1::ResumeCallerRequest { name: name.clone(), reason: "the test goes on".to_owned() };
        let answer = operator.callers().resume_caller(request).await.unwrap().into_inner();
        assert_eq!(answer.state(), v1::CallerState::Active);
    };
    let (calls, times) = signs_while(&chancery, &key, 5, suspend, resume).await;
    assert_refused(&calls, &times, "CALLER_SUSPENDED");

    let record = Record::read_settled(&operator).await;
    record.assert_holds(&calls);
    let suspended = indexes(record.acts("SuspendCaller", &name));
    let resumed = indexes(record.acts("ResumeCaller", &name));
    assert_eq!(suspended.len(), 5);
    assert_no_intent_between(&record, &key, &suspended, &resumed);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creations_of_one_name_one_wins() {
    let chancery = Chancery::start().await.unwrap();
    let operators = [chancery.operator().await.unwrap(), chancery.operator().await.unwrap()];
    let mut creations = JoinSet::new();
    for operator in operators.iter().cycle().take(12) {
        let operator = operator.clone();
        creations.spawn(async move { try_create_key(&operator, "wanted", v1::Algorithm::EcdsaP256Sha256).await });
    }
    let ended = creations.join_all().await;
    let (created, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    assert_eq!(created.len(), 1);
    for refused in refused.into_iter().filter_map(Result::err) {
        assert_eq!((refused.code(), refused.reason()), (Some(Code::AlreadyExists), Some("KEY_ALREADY_EXISTS")));
    }
    let key = "keyRings/dev/keys/wanted";
    sign(&chancery.caller().await.unwrap(), key, "it works").await.unwrap();
    let versions = v1::ListKeyVersionsRequest { parent: key.to_owned(), ..Default::default() };
    let versions = operators[0].keys().list_key_versions(versions).await.unwrap().into_inner().key_versions;
    assert_eq!(versions.len(), 1);
    let record = Record::read(&operators[0]).await;
    assert_eq!(record.acts("CreateKey", &versions[0].name).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_caller_goes_away_is_brought_to_an_end() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let caller = chancery.caller().await.unwrap();
    // A key of this size takes the token a while; where it was faster than we were, the next one will not be.
    for number in 0..8 {
        let id = format!("cancelled-{number}");
        let version = format!("keyRings/dev/keys/{id}/versions/1");
        let creation = {
            // A connection of its own, which goes with the call.
            let operator = chancery.operator().await.unwrap();
            let id = id.clone();
            tokio::spawn(async move { try_create_key(&operator, &id, v1::Algorithm::RsaPkcs14096Sha256).await })
        };
        let begun = until("the creation is on the record", async || {
            indexes(Record::read(&operator).await.acts("CreateKey", &version)).first().copied()
        })
        .await;
        creation.abort();
        let was_cut_off = creation.await.is_err();
        let record = Record::read_until(&operator, "the creation has an outcome", |record| record.end(begun).is_some());
        let record = record.await;
        assert_eq!(record.end(begun).unwrap().result, "DONE", "the token was not disturbed, so the key was made");
        let request = v1::GetKeyRequest { name: format!("keyRings/dev/keys/{id}") };
        let key = operator.keys().get_key(request).await.unwrap().into_inner();
        assert_eq!(key.primary_version, version);
        sign(&caller, &key.name, "it works").await.unwrap();
        if was_cut_off {
            return;
        }
    }
    panic!("no creation could be cut off in the middle");
}

//! WatchRecords: everything that is recorded, once, in order, for whoever may read it now.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_client::{Client, Refusal};
use chancery_testkit::{Chancery, Leaf};
use chancery_tests::load::{Load, PATIENCE, Record, create_key, sign, until};
use chancery_tests::streams::{Watch, channel, channel_as};
use tonic::transport::Channel;
use tonic::{Code, Status};
use v1::RecordKind::{Act, Denial, Intent, Outcome};

fn from(index: u64) -> v1::WatchRecordsRequest {
    v1::WatchRecordsRequest { start_index: Some(index), ..v1::WatchRecordsRequest::default() }
}

#[track_caller]
fn assert_ended(end: &Status, code: Code, reason: &str) {
    let refusal = Refusal::from(end.clone());
    assert_eq!((refusal.code, refusal.reason.as_deref()), (code, Some(reason)), "{refusal}");
}

async fn started() -> (Chancery, Client, Client, Channel, String) {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let caller = chancery.caller().await.unwrap();
    let channel = channel_as(&chancery, "operator").await;
    let key = create_key(&operator, "k").await;
    (chancery, operator, caller, channel, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn past_records_come_first_and_new_ones_as_they_are_made() {
    let (_chancery, operator, caller, channel, key) = started().await;
    for number in 0..20 {
        sign(&caller, &key, &format!("past {number}")).await.unwrap();
    }
    let past = Record::read_settled(&operator).await.records;
    let mut watch = Watch::open(&channel, from(0)).await.unwrap();
    let first = watch.next().await.unwrap();
    assert_eq!((first.record, first.next_index), (None, 0), "the first answer says from where on, at once");
    for expected in &past {
        let (record, next) = watch.record().await.unwrap();
        assert_eq!(&record, expected, "as ListRecords has it");
        assert_eq!(next, record.index + 1);
    }

    let mut late = Watch::open(&channel, v1::WatchRecordsRequest::default()).await.unwrap();
    assert_eq!(late.next().await.unwrap().next_index, past.len() as u64, "without a start, what comes from now on");
    let signed = sign(&caller, &key, "new").await.unwrap();
    for watch in [&mut watch, &mut late] {
        let (intent, _) = watch.record().await.unwrap();
        assert_eq!((intent.kind(), intent.index), (Intent, signed.record_index));
        let (outcome, next) = watch.record().await.unwrap();
        assert_eq!((outcome.kind(), outcome.outcomes[0].record_index), (Outcome, signed.record_index));
        assert_eq!(next, outcome.index + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_who_resumes_misses_nothing_and_gets_nothing_twice() {
    let (mut chancery, _, caller, channel, key) = started().await;
    let mut channel = channel;
    let mut seen: Vec<u64> = Vec::new();
    let mut next = 0;
    for round in 0..3 {
        let load = Load::start(std::slice::from_ref(&chancery.caller().await.unwrap()), 4, &key);
        load.wait_for_signatures(50).await;
        // Watches that break off anywhere, under load: one by the client, and in the last round one by the service.
        for stops in [1, 30, 200] {
            let mut watch = Watch::open(&channel, from(next)).await.unwrap();
            for _ in 0..stops {
                let (record, resume) = watch.record().await.unwrap();
                seen.push(record.index);
                next = resume;
            }
        }
        if round == 1 {
            let mut watch = Watch::open(&channel, from(next)).await.unwrap();
            let watching = tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    match watch.next().await {
                        Ok(answer) => seen.push(answer),
                        Err(status) => return (seen, status),
                    }
                }
            });
            let begun = Instant::now();
            assert!(chancery.terminate().await.unwrap().success());
            assert!(begun.elapsed() < Duration::from_secs(20), "no watch is waited for until the grace period is over");
            let (answers, end) = watching.await.unwrap();
            assert_ended(&end, Code::Unavailable, "CONNECTION_ENDS");
            for answer in answers {
                seen.extend(answer.record.map(|record| record.index));
                next = answer.next_index;
            }
        }
        load.stop().await;
        if round == 1 {
            chancery.restart().await.unwrap();
            channel = channel_as(&chancery, "operator").await;
        }
    }
    drop(caller);
    let record = Record::read_settled(&chancery.operator().await.unwrap()).await;
    let mut watch = Watch::open(&channel, from(next)).await.unwrap();
    while seen.len() < record.records.len() {
        seen.push(watch.record().await.unwrap().0.index);
    }
    let expected: Vec<u64> = (0..record.records.len() as u64).collect();
    assert_eq!(seen, expected, "each index once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_those_of_list_records_and_progress_passes_over_the_rest() {
    let (chancery, operator, caller, channel, key) = started().await;
    let other = create_key(&operator, "other").await;
    for number in 0..10 {
        sign(&caller, &key, &number.to_string()).await.unwrap();
        sign(&caller, &other, &number.to_string()).await.unwrap();
    }
    sign(&caller, "keyRings/dev/keys/none", "x").await.unwrap_err();
    let record = Record::read_until(&operator, "the denial is recorded", |record| record.of(Denial).count() == 1).await;
    Record::read_settled(&operator).await;
    let request = || from(0);
    for filter in [
        v1::WatchRecordsRequest { kind: Intent.into(), ..request() },
        v1::WatchRecordsRequest { kind: Denial.into(), ..request() },
        v1::WatchRecordsRequest { kind: Act.into(), action: "CreateKey".to_owned(), ..request() },
        v1::WatchRecordsRequest { caller: "callers/operator".to_owned(), ..request() },
        v1::WatchRecordsRequest { resource: other.clone(), ..request() },
        v1::WatchRecordsRequest { resource: "keyRings/dev".to_owned(), kind: Outcome.into(), ..request() },
        v1::WatchRecordsRequest { action: "Sign".to_owned(), caller: "callers/caller".to_owned(), ..request() },
    ] {
        let list = v1::ListRecordsRequest {
            kind: filter.kind,
            caller: filter.caller.clone(),
            resource: filter.resource.clone(),
            action: filter.action.clone(),
            oldest_first: true,
            page_size: 1000,
            ..v1::ListRecordsRequest::default()
        };
        let expected = operator.audit().list_records(list).await.unwrap().into_inner().records;
        assert!(!expected.is_empty() && expected.len() < record.records.len(), "{filter:?}");
        let mut watch = Watch::open(&channel, filter).await.unwrap();
        let mut next = 0;
        for expected in expected {
            let (record, resume) = watch.record().await.unwrap();
            assert_eq!(record, expected);
            assert!(resume > record.index);
            next = resume;
        }
        // Where nothing matches any more, the watcher hears all the same how far it is.
        until("progress is told", async || {
            if next < record.records.len() as u64 {
                next = watch.next().await.unwrap().next_index;
            }
            (next >= record.records.len() as u64).then_some(())
        })
        .await;
    }
    for (filter, field) in [
        (v1::WatchRecordsRequest { kind: 9, ..request() }, "kind"),
        (v1::WatchRecordsRequest { caller: "caller".to_owned(), ..request() }, "caller"),
        (v1::WatchRecordsRequest { resource: "keys/k".to_owned(), ..request() }, "resource"),
        (v1::WatchRecordsRequest { action: "Sing".to_owned(), ..request() }, "action"),
    ] {
        let refusal = Refusal::from(Watch::open(&channel, filter).await.unwrap_err());
        assert_eq!((refusal.code, refusal.violations[0].field.as_str()), (Code::InvalidArgument, field));
    }
    drop(chancery);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_end_there_is_nothing_to_wait_for() {
    let (_chancery, operator, caller, channel, key) = started().await;
    sign(&caller, &key, "m").await.unwrap();
    let end = Record::read_settled(&operator).await.records.len() as u64;
    let refused = Watch::open(&channel, from(end + 1)).await.unwrap_err();
    assert_ended(&refused, Code::OutOfRange, "BEYOND_RECORD");
    assert_ended(&Watch::open(&channel, from(u64::MAX)).await.unwrap_err(), Code::OutOfRange, "BEYOND_RECORD");
    let mut at_the_end = Watch::open(&channel, from(end)).await.unwrap();
    assert_eq!(at_the_end.next().await.unwrap().next_index, end);
    sign(&caller, &key, "m").await.unwrap();
    assert_eq!(at_the_end.record().await.unwrap().0.index, end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_withdrawn_ends_the_watch() {
    let (chancery, operator, caller, channel, key) = started().await;
    let refused = Watch::open(&channel_as(&chancery, "caller").await, from(0)).await.unwrap_err();
    assert_ended(&refused, Code::PermissionDenied, "ACCESS_DENIED");

    let mut watch = Watch::open(&channel, from(0)).await.unwrap();
    watch.next().await.unwrap();
    let set = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let text = r#"@id("closed") forbid (principal, action == Chancery::Action::"WatchRecords", resource);"#;
    let mut documents = set.documents;
    documents.push(v1::PolicyDocument { name: "closed.cedar".to_owned(), text: text.to_owned() });
    let request = v1::ApplyPolicySetRequest { documents, etag: set.etag };
    operator.policy().apply_policy_set(request).await.unwrap();
    let after = Record::read_settled(&operator).await.records.len() as u64;
    let signing = Load::start(std::slice::from_ref(&caller), 2, &key);
    let mut last = 0;
    let end = loop {
        match watch.record().await {
            Ok((record, _)) => last = record.index,
            Err(status) => break status,
        }
    };
    signing.stop().await;
    assert_ended(&end, Code::PermissionDenied, "ACCESS_DENIED");
    assert!(last < after, "nothing that was recorded after the change: {last}, {after}");
    Record::read_until(&operator, "the denial is recorded", |record| {
        record.of(Denial).any(|denial| denial.action == "WatchRecords" && denial.caller == "callers/operator")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_ends_the_watch_even_if_nothing_happens() {
    let (chancery, ..) = started().await;
    let now = time::OffsetDateTime::now_utc();
    let leaf = Leaf::spiffe("spiffe://chancery.dev/operator")
        .valid(now - time::Duration::hours(1), now + time::Duration::seconds(12));
    let channel = channel(&chancery, &chancery.issue(leaf, "short").unwrap()).await;
    let mut watch = Watch::open(&channel, v1::WatchRecordsRequest::default()).await.unwrap();
    let end = loop {
        if let Err(status) = watch.next().await {
            break status;
        }
    };
    assert_ended(&end, Code::Unauthenticated, "CERTIFICATE_EXPIRED");
}

/// Signs a batch of 256, several times.
async fn sign_batches(caller: &Client, key: &str, batches: usize) {
    for batch in 0..batches {
        let request = |number: usize| v1::SignRequest {
            name: key.to_owned(),
            input: Some(v1::SignInput {
                input: Some(v1::sign_input::Input::Message(format!("{batch} {number}").into_bytes().into())),
                crc32c: None,
            }),
            ..v1::SignRequest::default()
        };
        let requests = (0..256).map(request).collect();
        let answer = caller.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner();
        for result in answer.results {
            assert!(matches!(result.result, Some(v1::batch_sign_result::Result::Response(_))), "{result:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_who_hangs_keeps_nothing_open_and_lags() {
    let (chancery, operator, caller, channel, key) = started().await;
    let mut hanging = Watch::open(&channel, from(0)).await.unwrap();
    hanging.next().await.unwrap();
    // Each intent writes about a page of the write-ahead log, which is emptied at 4000 pages, unless somebody reads an old
    // state of the database: then it grows with every one.
    sign_batches(&caller, &key, 40).await;
    let log = chancery.dir().join("chancery.db-wal");
    let length = std::fs::metadata(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display())).len();
    let written = Record::read_settled(&operator).await;
    let bytes: usize = written.records.iter().map(|record| record.leaf.len() + record.details_json.len()).sum();
    assert!(length < 24 << 20, "the write-ahead log has {length} bytes");
    assert!(bytes > 10 << 20, "{bytes} bytes of records are more than fit into one round of it with their indexes");

    let mut seen = 0;
    while seen < written.records.len() as u64 {
        let (record, _) = hanging.record().await.unwrap();
        assert_eq!(record.index, seen, "it lagged, and missed nothing");
        seen += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_follows_the_record() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let (mut chancery, _, caller, _, key) = started().await;
    let mut command = chancery.cli();
    command.args(["audit", "watch", "--from", "0", "--action", "sign", "--kind", "intent", "-o", "json"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap());
    let signed = sign(&caller, &key, "m").await.unwrap().record_index;
    let (tell, first) = tokio::sync::oneshot::channel();
    let reading = tokio::task::spawn_blocking(move || {
        let mut lines = lines.lines();
        tell.send(lines.next().unwrap().unwrap()).unwrap();
        lines.count()
    });
    let line = tokio::time::timeout(PATIENCE, first).await.unwrap().unwrap();
    until("the record has the outcome as well", async || {
        let record = Record::read(&chancery.operator().await.unwrap()).await;
        record.end(signed).map(drop)
    })
    .await;
    chancery.terminate().await.unwrap();
    let more = tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((record["index"].as_u64(), record["kind"].as_str()), (Some(signed), Some("INTENT")));
    assert_eq!(more, 0);
    let mut said = String::new();
    watching.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(4), "unavailable: {said}");
    assert!(said.contains("chancery audit watch --from "), "{said}");
}

//! StreamSign: every message is decided by itself, answers come as they are ready, and a stream that stays open is neither a
//! way past a change nor a way to fill the service.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_client::{Client, EcdsaEncoding, Input};
use chancery_testkit::{Chancery, Leaf};
use chancery_tests::load::{Record, create_key, metric, sign, stop, token, until};
use chancery_tests::streams::{Answer, SignStream, WINDOW, channel, channel_as, memory, stream_request};
use tonic::{Code, Status};

fn limits(config: &mut toml::Table, limits: &[(&str, i64)]) {
    let listener = config.get_mut("listener").unwrap().as_table_mut().unwrap();
    let table = limits.iter().map(|(name, value)| ((*name).to_owned(), toml::Value::Integer(*value))).collect();
    listener.insert("limits".to_owned(), toml::Value::Table(table));
}

#[track_caller]
fn assert_ended(end: &Status, code: Code, reason: &str) {
    let refusal = chancery_client::Refusal::from(end.clone());
    assert_eq!((refusal.code, refusal.reason.as_deref()), (code, Some(reason)), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_answered_by_itself_under_its_own_word() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let caller = chancery.caller().await.unwrap();
    let key = create_key(&operator, "k").await;
    let stream = SignStream::open(&channel_as(&chancery, "caller").await).await;
    for number in 0..100 {
        stream.send(&format!("good {number}"), &key, format!("message {number}").as_bytes()).await;
    }
    let damaged = v1::StreamSignRequest {
        request: stream_request("", &key, b"x").request.map(|mut request| {
            request.input.as_mut().unwrap().crc32c = Some(1);
            request
        }),
        ..stream_request("damaged", &key, b"x")
    };
    let longest = "x".repeat(64);
    let bad = [
        (stream_request("nowhere", "keyRings/dev/keys/none", b"x"), "nowhere", "ACCESS_DENIED"),
        (stream_request("", &key, b"x"), "", "INVALID_FIELD"),
        (stream_request(&"y".repeat(65), &key, b"x"), &"y".repeat(64), "INVALID_FIELD"),
        (stream_request("no name", "", b"x"), "no name", "INVALID_FIELD"),
        (stream_request("no message", &key, b""), "no message", "INVALID_FIELD"),
        (v1::StreamSignRequest { correlation_id: "nothing".to_owned(), request: None }, "nothing", "INVALID_FIELD"),
        (damaged, "damaged", "INVALID_FIELD"),
    ];
    for (request, ..) in &bad {
        stream.messages.send(request.clone()).await.unwrap();
    }
    stream.send(&longest, &key, b"the last one").await;
    let (mut answers, end) = stream.finish().await;
    end.unwrap();
    assert_eq!(answers.len(), 100 + bad.len() + 1);

    for (_, id, reason) in &bad {
        assert_eq!(answers.remove(*id).unwrap().reason(), Some(*reason), "{id:?}");
    }
    let mut indexes = BTreeSet::new();
    for (id, answer) in answers {
        let signed = answer.signed();
        let message = id.strip_prefix("good ").map_or("the last one".to_owned(), |number| format!("message {number}"));
        let input = Input::Message(message.into_bytes());
        let verdict = caller.verify(&signed.name, input, signed.signature, EcdsaEncoding::P1363).await.unwrap();
        assert!(verdict.valid, "{id}: the signature is of this message");
        indexes.insert(signed.record_index);
    }
    let record = Record::read_settled(&operator).await;
    let intents: BTreeSet<u64> = record.intents().map(|intent| intent.index).collect();
    assert_eq!(intents, indexes, "one intent for each signature that was received, and no other");
    let signatures = metric(chancery.admin_endpoint().unwrap(), "chancery_signatures", "ring=\"dev\"");
    assert!((signatures - 101.0).abs() < 0.5, "{signatures}");
    until("the denial is on the record", async || {
        let record = Record::read(&operator).await;
        let denials = record.of(v1::RecordKind::Denial).filter(|denial| denial.action == "Sign").count();
        (denials == 1).then_some(())
    })
    .await;
}

/// How many messages of [`LONG`] bytes are signed; the service would need ten times `GROWTH` to hold them all.
const MANY: usize = 10_000;
const VERY_MANY: usize = 100_000;
const LONG: usize = 16 * 1024;
/// What the service's process may grow by, in bytes: windows and messages under way come to some 3 MiB, the rest is for
/// an allocator that gives nothing back.
const GROWTH: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_and_a_slow_reader_take_no_more_memory() {
    many_messages_and_a_slow_reader(MANY).await;
}

/// By `make test-long`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run by make test-long"]
async fn a_hundred_thousand_messages_and_a_slow_reader_take_no_more_memory() {
    many_messages_and_a_slow_reader(VERY_MANY).await;
}

async fn many_messages_and_a_slow_reader(count: usize) {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let channel = channel_as(&chancery, "caller").await;
    // Everything that is made once is made: caches, the workers' lanes, the first megabytes of buffers.
    let mut warm_up = SignStream::open(&channel).await;
    for number in 0..500 {
        if number >= 64 {
            warm_up.next().await.unwrap().unwrap();
        }
        warm_up.send(&number.to_string(), &key, &[7; LONG]).await;
    }
    warm_up.finish().await.1.unwrap();
    let before = memory(chancery.pid(), "VmHWM");

    let SignStream { messages, answers } = SignStream::open(&channel).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            for number in 0..count {
                messages.send(stream_request(&number.to_string(), &key, &[7; LONG])).await.unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    // Nothing is read for a while: sooner or later the sender is held back, and stays so.
    let blocked = until("the sender is held back", async || {
        let before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let after = sent.load(Ordering::SeqCst);
        (before > 0 && before == after).then_some(after)
    })
    .await;
    // Answers, of at least 100 bytes: what fits into the client's window, into what tonic and HTTP/2 write at once (32 KiB
    // each), 16 between, 64 under way. Messages: the service's window of 1 MiB, the client's buffer of 1 MiB, and some in
    // hand on both sides.
    let answered = (WINDOW as usize + 2 * 32 * 1024) / 100 + 16 + 64;
    let waiting = 2 * (1 << 20) / LONG + 2 * 64;
    assert!(blocked <= answered + waiting, "{blocked} messages were taken while no answer was");
    let intents = metric(chancery.admin_endpoint().unwrap(), "chancery_signatures", "ring=\"dev\"");
    assert!(intents <= (500 + answered) as f64, "{intents}");

    let mut stream = SignStream { messages: tokio::sync::mpsc::channel(1).0, answers };
    let mut seen = vec![false; count];
    for place in 0..count {
        if place % 512 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (id, answer) = stream.next().await.unwrap().expect("all are answered");
        answer.signed();
        let seen = &mut seen[id.parse::<usize>().unwrap()];
        assert!(!*seen, "two answers to {id}");
        *seen = true;
    }
    assert!(stream.next().await.unwrap().is_none(), "the sender had half-closed");
    sending.await.unwrap();
    let grown = memory(chancery.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < GROWTH, "the service's process has grown by {grown} bytes");
    assert!(GROWTH < (count * LONG) as u64 / 4, "the test can fail");
}

/// Sends messages under the numbers of `numbers` and takes their answers, while others are under way.
async fn exchange(stream: &mut SignStream, key: &str, numbers: std::ops::Range<usize>) -> BTreeMap<usize, Answer> {
    let mut answers = BTreeMap::new();
    let mut sent = numbers.start;
    while answers.len() < numbers.len() {
        while sent < numbers.end && sent - numbers.start - answers.len() < 32 {
            stream.send(&sent.to_string(), key, format!("message {sent}").as_bytes()).await;
            sent += 1;
        }
        let (id, answer) = stream.next().await.unwrap().expect("the stream goes on");
        assert!(answers.insert(id.parse().unwrap(), answer).is_none(), "two answers to {id}");
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_stops_an_open_stream_at_the_next_message() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let name = format!("{key}/versions/1");
    let mut stream = SignStream::open(&channel_as(&chancery, "caller").await).await;
    let mut signed = BTreeSet::new();
    let mut numbers = 0;
    for round in 0..3 {
        let answers = exchange(&mut stream, &key, numbers..numbers + 100).await;
        signed.extend(answers.into_values().map(|answer| answer.signed().record_index));
        numbers += 100;
        // Under way while the version is suspended: signed or refused, but decided.
        for number in numbers..numbers + 20 {
            stream.send(&number.to_string(), &key, b"in between").await;
        }
        let suspend = v1::SuspendKeyVersionRequest { name: name.clone(), reason: format!("round {round}") };
        operator.keys().suspend_key_version(suspend).await.unwrap();
        for (_, answer) in stream.take(20).await {
            match answer {
                Answer::Signed(response) => drop(signed.insert(response.record_index)),
                refused => assert_eq!(refused.reason(), Some("KEY_VERSION_NOT_ACTIVE")),
            }
        }
        numbers += 20;
        for (number, answer) in exchange(&mut stream, &key, numbers..numbers + 100).await {
            assert_eq!(answer.reason(), Some("KEY_VERSION_NOT_ACTIVE"), "{number} was sent after the acknowledgement");
        }
        numbers += 100;
        let resume = v1::ResumeKeyVersionRequest { name: name.clone(), reason: "goes on".to_owned() };
        operator.keys().resume_key_version(resume).await.unwrap();
    }
    stream.finish().await.1.unwrap();
    let record = Record::read_settled(&operator).await;
    let intents: BTreeSet<u64> = record.intents().map(|intent| intent.index).collect();
    assert_eq!(intents, signed, "one intent for each signature that was received, and no other");
    let indexes = |action| record.acts(action, &name).map(|act| act.index).collect::<Vec<_>>();
    let (suspended, resumed) = (indexes("SuspendKeyVersion"), indexes("ResumeKeyVersion"));
    assert_eq!((suspended.len(), resumed.len()), (3, 3));
    for (from, to) in suspended.into_iter().zip(resumed) {
        assert_eq!(intents.range(from..to).next(), None, "nothing was signed between {from} and {to}");
    }
}

async fn apply(operator: &Client, change: impl FnOnce(&mut Vec<v1::PolicyDocument>)) {
    let set = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let mut documents = set.documents;
    change(&mut documents);
    let request = v1::ApplyPolicySetRequest { documents, etag: set.etag };
    operator.policy().apply_policy_set(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_set_decides_from_the_next_message_on() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let mut stream = SignStream::open(&channel_as(&chancery, "caller").await).await;
    stream.sign("allowed", &key, b"m").await.signed();
    let forbid = r#"@id("closed") forbid (principal, action == Chancery::Action::"Sign", resource);"#;
    apply(&operator, |documents| {
        documents.push(v1::PolicyDocument { name: "closed.cedar".to_owned(), text: forbid.to_owned() });
    })
    .await;
    for answer in exchange(&mut stream, &key, 0..50).await.into_values() {
        assert_eq!(answer.reason(), Some("ACCESS_DENIED"));
    }
    apply(&operator, |documents| drop(documents.pop())).await;
    stream.sign("allowed again", &key, b"m").await.signed();
    stream.finish().await.1.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_ends_the_stream_at_the_next_message() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let now = time::OffsetDateTime::now_utc();
    let leaf = Leaf::spiffe("spiffe://chancery.dev/caller")
        .valid(now - time::Duration::hours(1), now + time::Duration::seconds(12));
    let channel = channel(&chancery, &chancery.issue(leaf, "short").unwrap()).await;
    let mut stream = SignStream::open(&channel).await;
    stream.sign("in time", &key, b"m").await.signed();
    let end = until("the certificate expires", async || {
        stream.send("perhaps too late", &key, b"m").await;
        match stream.next().await {
            Ok(Some((_, answer))) => {
                answer.signed();
                tokio::time::sleep(Duration::from_millis(200)).await;
                None
            }
            Ok(None) => panic!("the stream ended as if all were well"),
            Err(status) => Some(status),
        }
    })
    .await;
    assert_ended(&end, Code::Unauthenticated, "CERTIFICATE_EXPIRED");
    let counted = metric(chancery.admin_endpoint().unwrap(), "chancery_unauthenticated", "certificate_expired");
    assert!(counted >= 1.0);
    let refused = SignStream::try_open(&channel, None).await.unwrap_err();
    assert_ended(&refused, Code::Unauthenticated, "CERTIFICATE_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_on_which_nothing_is_sent_ends_soon_after_its_caller_was_suspended() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let mut idle = SignStream::open(&channel_as(&chancery, "caller").await).await;
    idle.sign("before", &key, b"m").await.signed();
    let still = tokio::time::timeout(Duration::from_secs(3), idle.next()).await;
    assert!(still.is_err(), "while he may sign it stays open: {still:?}");
    let name = "callers/caller".to_owned();
    let suspend = v1::SuspendCallerRequest { name, reason: "looked for".to_owned() };
    operator.callers().suspend_caller(suspend).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(15), idle.next()).await;
    assert_ended(&ended.expect("it ends without a message").unwrap_err(), Code::PermissionDenied, "CALLER_SUSPENDED");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_sent_before_a_half_close_is_answered() {
    let chancery = Chancery::start().await.unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    let stream = SignStream::open(&channel_as(&chancery, "caller").await).await;
    for number in 0..300 {
        stream.send(&number.to_string(), &key, b"m").await;
    }
    let (answers, end) = stream.finish().await;
    end.unwrap();
    assert_eq!(answers.len(), 300);
    answers.into_values().for_each(|answer| drop(answer.signed()));

    let empty = SignStream::open(&channel_as(&chancery, "caller").await).await;
    let (answers, end) = empty.finish().await;
    end.unwrap();
    assert!(answers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disappears_leaves_nothing_open_and_nothing_taken() {
    let chancery =
        Chancery::setup().configure(|config| limits(config, &[("max_in_flight_per_caller", 2)])).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    for _ in 0..20 {
        // A connection of its own, which breaks with everything that is on it.
        let channel = channel_as(&chancery, "caller").await;
        // Until the stream before has been noticed as gone, it counts.
        let stream =
            until("there is room for a stream", async || SignStream::try_open(&channel, None).await.ok()).await;
        for number in 0..40 {
            stream.send(&number.to_string(), &key, b"m").await;
        }
    }
    let record = Record::read_settled(&operator).await;
    assert!(record.intents().count() > 20, "some of it was signed");
    let caller = chancery.caller().await.unwrap();
    until("the places are free again", async || {
        let (one, other) = tokio::join!(sign(&caller, &key, "a"), sign(&caller, &key, "b"));
        (one.is_ok() && other.is_ok()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_call_of_its_caller_for_as_long_as_it_is_open() {
    let chancery =
        Chancery::setup().configure(|config| limits(config, &[("max_in_flight_per_caller", 2)])).start().await.unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    let channel = channel_as(&chancery, "caller").await;
    let mut one = SignStream::open(&channel).await;
    let mut other = SignStream::open(&channel).await;
    let refused = SignStream::try_open(&channel, None).await.unwrap_err();
    assert_ended(&refused, Code::ResourceExhausted, "CALLER_LIMIT");
    let caller = chancery.caller().await.unwrap();
    let refused = sign(&caller, &key, "m").await.unwrap_err();
    assert_eq!(refused.reason(), Some("CALLER_LIMIT"));
    // Both go on, although there is no place for a second message of either: what is in excess waits.
    let (first, second) = tokio::join!(exchange(&mut one, &key, 0..60), exchange(&mut other, &key, 0..60));
    first.into_values().chain(second.into_values()).for_each(|answer| drop(answer.signed()));
    one.finish().await.1.unwrap();
    until("there is room again", async || sign(&caller, &key, "m").await.ok()).await;
    other.sign("still here", &key, b"m").await.signed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_read_and_ends_the_stream() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let channel = channel_as(&chancery, "caller").await;
    let idle = SignStream::open(&channel_as(&chancery, "caller").await).await;
    let SignStream { messages, answers } = SignStream::open(&channel).await;
    // More than is answered by the stop, and an end of it: a sender who goes on for ever may be cut off by a TCP reset, which
    // takes with it what was on its way to him.
    let sending = tokio::spawn(async move {
        for number in 0..2000 {
            if messages.send(stream_request(&number.to_string(), &key, b"m")).await.is_err() {
                return;
            }
        }
        messages.closed().await;
    });
    let mut stream = SignStream { messages: tokio::sync::mpsc::channel(1).0, answers };
    let taken = stream.take(200).await;
    let mut signed: BTreeSet<u64> = taken.into_values().map(|answer| answer.signed().record_index).collect();
    let reading = tokio::spawn(async move {
        loop {
            match stream.next().await {
                Ok(Some((_, answer))) => assert!(signed.insert(answer.signed().record_index)),
                Ok(None) => panic!("the stream ended as if all were well"),
                Err(status) => return (signed, status),
            }
        }
    });
    let begun = Instant::now();
    let status = chancery.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(20), "no stream is waited for until the grace period is over");
    let (signed, end) = reading.await.unwrap();
    assert_ended(&end, Code::Unavailable, "CONNECTION_ENDS");
    assert_ended(&idle.finish().await.1.unwrap_err(), Code::Unavailable, "CONNECTION_ENDS");
    sending.await.unwrap();

    chancery.restart().await.unwrap();
    let record = Record::read(&chancery.operator().await.unwrap()).await;
    let intents: BTreeSet<u64> = record.intents().map(|intent| intent.index).collect();
    assert_eq!(intents, signed, "one intent for each signature that was received, and no other");
    assert_eq!(record.ended("DONE").len(), signed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_ends_its_streams_and_a_new_one_takes_over() {
    let chancery = Chancery::setup()
        .configure(|config| limits(config, &[("max_connection_age_seconds", 10), ("max_streams_per_caller", 1)]))
        .start()
        .await
        .unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    let channel = channel_as(&chancery, "caller").await;
    let mut stream = SignStream::open(&channel).await;
    stream.sign("a", &key, b"m").await.signed();
    let refused = SignStream::try_open(&channel, None).await.unwrap_err();
    assert_ended(&refused, Code::ResourceExhausted, "CALLER_LIMIT");
    assert_ended(&stream.next().await.unwrap_err(), Code::Unavailable, "CONNECTION_ENDS");
    // The same channel connects anew.
    let mut stream = until("a new stream", async || SignStream::try_open(&channel, None).await.ok()).await;
    stream.sign("b", &key, b"m").await.signed();
    stream.finish().await.1.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_its_callers_deadline_and_each_message_the_services() {
    let chancery = Chancery::setup()
        .configure(|config| limits(config, &[("default_deadline_seconds", 4), ("max_deadline_seconds", 4)]))
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let channel = channel_as(&chancery, "caller").await;
    let mut bounded = SignStream::open_with(&channel, Some(Duration::from_secs(15))).await;
    let begun = Instant::now();
    let mut unbounded = SignStream::open(&channel).await;
    bounded.sign("a", &key, b"m").await.signed();
    unbounded.sign("a", &key, b"m").await.signed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Longer than any call may take: it is the messages that have the service's deadline, not the stream.
    bounded.sign("b", &key, b"m").await.signed();
    let end = bounded.next().await.unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
    assert!(begun.elapsed() >= Duration::from_millis(14_900), "{:?}", begun.elapsed());
    unbounded.sign("b", &key, b"m").await.signed();

    // A token that does not answer: each message is given up in its time, and the stream goes on.
    stop(token(&operator).await.worker_pid).await;
    for number in 0..5 {
        unbounded.send(&number.to_string(), &key, b"m").await;
    }
    let begun = Instant::now();
    // The first that overran its deadline has the worker replaced, and of those behind it nobody knows what the token did.
    let reasons: Vec<_> = unbounded.take(5).await.values().map(|answer| answer.reason().map(str::to_owned)).collect();
    let late = |reason: &Option<String>| reason.as_deref() == Some("DEADLINE_EXCEEDED");
    let lost = |reason: &Option<String>| reason.as_deref() == Some("TOKEN_OUTCOME_UNKNOWN");
    assert!(reasons.iter().any(late) && reasons.iter().all(|reason| late(reason) || lost(reason)), "{reasons:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    until("the worker is replaced", async || match unbounded.sign("again", &key, b"m").await {
        Answer::Signed(_) => Some(()),
        Answer::Refused(_) => None,
    })
    .await;
    unbounded.finish().await.1.unwrap();
    let record = Record::read_settled(&operator).await;
    assert_eq!(record.intents().filter(|intent| record.end(intent.index).is_none()).count(), 0);
}

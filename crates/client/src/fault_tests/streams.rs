//! Streams: answers find their messages, senders are held back, a watch goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::service::{Faults, Plan, VERSION};
use crate::{ClientError, KeyRef, RecordWatch, RetryPolicy, SignItem, WatchOptions};

fn item(text: &str) -> SignItem {
    let key: KeyRef = VERSION.parse().unwrap();
    SignItem::new(key, text)
}

#[tokio::test]
async fn a_thousand_messages_find_their_answers() {
    let faults = Faults::new([]);
    let (sender, mut answers) = faults.client(RetryPolicy::default()).stream_sign().await.unwrap();
    assert_eq!(faults.calls()[0].timeout, None, "a deadline would end the stream");
    let sending = tokio::spawn(async move {
        for number in 0..1000 {
            sender.send(number.to_string(), item(&number.to_string())).await.unwrap();
        }
    });
    let mut answered = BTreeSet::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        answer.result.unwrap();
        assert!(answered.insert(answer.correlation_id), "each once");
    }
    sending.await.unwrap();
    assert_eq!((answered.len(), answers.unanswered().len()), (1000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_sender_whose_answers_nobody_takes_is_held_back() {
    let faults = Faults::new([]);
    let (sender, mut answers) = faults.client(RetryPolicy::default()).stream_sign().await.unwrap();
    let mut sent: u32 = 0;
    while timeout(Duration::from_secs(1), sender.send(sent.to_string(), item("m"))).await.is_ok() {
        sent += 1;
    }
    assert_eq!((sent, answers.unanswered().len() <= 128), (128, true));
    answers.next().await.unwrap().unwrap().result.unwrap();
    timeout(Duration::from_secs(1), sender.send("more", item("m"))).await.unwrap().unwrap();
    let waiting = tokio::spawn(async move { sender.send("one too many", item("m")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(answers);
    assert!(matches!(waiting.await.unwrap(), Err(ClientError::StreamEnded)), "it does not wait for ever");
}

#[tokio::test]
async fn an_item_that_fails_leaves_the_stream_and_a_stream_that_breaks_says_what_is_left() {
    let faults = Faults::new([]);
    let (sender, mut answers) = faults.client(RetryPolicy::default()).stream_sign().await.unwrap();
    sender.send("denied", item("m")).await.unwrap();
    let denied = answers.next().await.unwrap().unwrap();
    assert_eq!(
        (denied.correlation_id.as_str(), denied.result.unwrap_err().code()),
        ("denied", Some(Code::PermissionDenied))
    );
    sender.send("fine", item("m")).await.unwrap();
    assert!(answers.next().await.unwrap().unwrap().result.is_ok());

    sender.send("break", item("m")).await.unwrap();
    sender.send("after", item("m")).await.unwrap();
    let twice = sender.send("after", item("m")).await.unwrap_err();
    assert!(matches!(&twice, ClientError::Request { .. }), "{twice}");
    let broken = answers.next().await.unwrap().unwrap_err();
    assert_eq!((broken.code(), broken.is_transient()), (Some(Code::Unavailable), true));
    assert!(answers.next().await.is_none());
    assert_eq!(answers.unanswered().into_iter().collect::<BTreeSet<_>>(), ["after", "break"].map(str::to_owned).into());
    for wrong in ["", &"x".repeat(65)] {
        assert!(matches!(sender.send(wrong, item("m")).await, Err(ClientError::Request { .. })));
    }
}

async fn indexes(watch: &mut RecordWatch, count: usize) -> Vec<u64> {
    let mut indexes = Vec::new();
    for _ in 0..count {
        indexes.push(watch.next().await.unwrap().unwrap().index);
    }
    indexes
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_where_it_was_without_loss_or_duplicate() {
    let faults = Faults::new([
        Plan::Watch(vec![3, 4, 6], Some(Status::unavailable("restarting"))),
        Plan::Fail(Status::unavailable("restarting")),
        // A service that repeats itself: 6 was handed out already.
        Plan::Watch(vec![6, 7], Some(Status::unavailable("again"))),
        Plan::Watch(vec![9], None),
    ]);
    let client = faults.client(RetryPolicy::default());
    let mut watch =
        client.watch_records(WatchOptions { start_index: Some(3), ..WatchOptions::default() }).await.unwrap();
    assert_eq!(watch.next_index(), 3);
    assert_eq!(indexes(&mut watch, 2).await, [3, 4]);
    assert_eq!(watch.next_index(), 5, "what was taken, not what came");
    assert_eq!(indexes(&mut watch, 3).await, [6, 7, 9]);
    assert_eq!(watch.next_index(), 10);
    let starts: Vec<String> = faults.calls().into_iter().map(|call| call.note).collect();
    assert_eq!(starts, ["Some(3)", "", "Some(7)", "Some(8)"]);
    assert!(faults.calls().iter().all(|call| call.timeout.is_none()), "a deadline would end the watch");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_where_it_is_refused_or_patience_is_over() {
    let denied = Status::permission_denied("no longer");
    let faults = Faults::new([Plan::Watch(vec![0], Some(denied.clone())), Plan::Fail(denied)]);
    let client = faults.client(RetryPolicy::default());
    let mut watch = client.watch_records(WatchOptions::default()).await.unwrap();
    assert_eq!(indexes(&mut watch, 1).await, [0]);
    assert_eq!(watch.next().await.unwrap().unwrap_err().code(), Some(Code::PermissionDenied));
    assert!(watch.next().await.is_none());
    assert!(client.watch_records(WatchOptions::default()).await.is_err(), "refused from the first");
    assert_eq!(faults.calls().len(), 2, "not asked again by itself");

    let away = (0..100).map(|_| Plan::Fail(Status::unavailable("away")));
    let faults = Faults::new([Plan::Watch(vec![], Some(Status::unavailable("away")))].into_iter().chain(away));
    let patience = Some(Duration::from_secs(10));
    let client = faults.client(RetryPolicy::default());
    let mut watch = client.watch_records(WatchOptions { patience, ..WatchOptions::default() }).await.unwrap();
    let began = Instant::now();
    assert_eq!(watch.next().await.unwrap().unwrap_err().code(), Some(Code::Unavailable));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(10) && took <= Duration::from_secs(13), "{took:?}");
}

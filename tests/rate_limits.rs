//! How fast callers and keys go, how many uses are under way, and how many signatures a caller gets: who is refused, what
//! they are told, and that a refusal costs nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::time::Duration;

use bytes::Bytes;
use chancery_api::v1::{self, Algorithm};
use chancery_client::{Client, ClientError, Refusal};
use chancery_core::{Error, Input, KeyOrVersion, LimitChanges, Limited, RuleChanges, SignRequest};
use chancery_model::{EcdsaEncoding, KeyName, LimitKind, Timestamp};
use chancery_testkit::{CallerSetup, Chancery, Setup, signal};
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, create, eventually, new_key, records, refusal, sign,
};
use chancery_tests::life_cycle::{get_key, update};
use chancery_tests::load::{self, metric, stop, token};
use chancery_tests::office::{DAY, Office};
use chancery_tests::streams::{Answer, SignStream, channel_as, item_refusal};
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";

fn setup() -> Setup {
    Chancery::setup().with(CallerSetup::new("batch").role("signer").ring("dev"))
}

/// A key that has these limits.
async fn paced(operator: &Client, id: &str, algorithm: Algorithm, limits: v1::Key) -> String {
    let key = v1::Key { algorithm: algorithm.into(), ..limits };
    create(operator, v1::CreateKeyRequest { key: Some(key), ..new_key(RING, id, algorithm) }).await.name
}

async fn limit_caller(operator: &Client, limits: v1::Caller, paths: &[&str]) -> Result<Response<v1::Caller>, Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = v1::UpdateCallerRequest { caller: Some(limits), update_mask: Some(FieldMask { paths }) };
    operator.callers().update_caller(request).await
}

/// The caller `batch` with no limits of its own, as the tests begin and end with.
async fn unlimited(operator: &Client) -> v1::Caller {
    let caller = v1::Caller { name: "callers/batch".to_owned(), ..v1::Caller::default() };
    let paths = ["max_uses_per_second", "max_burst", "max_concurrent_calls", "max_signatures", "max_daily_signatures"];
    limit_caller(operator, caller, &paths).await.unwrap().into_inner()
}

/// How many intents are on the record of a resource, or of a caller.
async fn intents(operator: &Client, resource: &str, caller: &str) -> usize {
    let request = v1::ListRecordsRequest {
        resource: resource.to_owned(),
        caller: caller.to_owned(),
        kind: v1::RecordKind::Intent.into(),
        page_size: 1000,
        ..v1::ListRecordsRequest::default()
    };
    records(operator, request).await.len()
}

/// Signs until it is refused; how often it was not. What is refused so must come far sooner than the last call.
async fn sign_until_refused(caller: &Client, key: &str) -> (usize, Refusal) {
    for made in 0..200 {
        if let Err(status) = caller.signing().sign(sign(key, b"m")).await {
            return (made, refusal(status));
        }
    }
    panic!("200 signatures, and no limit");
}

fn item_refusals(results: Vec<v1::BatchSignResult>) -> Vec<Option<Refusal>> {
    let refusal = |result: v1::BatchSignResult| match result.result.unwrap() {
        v1::batch_sign_result::Result::Response(_) => None,
        v1::batch_sign_result::Result::Error(error) => Some(item_refusal(&error)),
    };
    results.into_iter().map(refusal).collect()
}

fn is(refusal: &Refusal, reason: &str, resource: &str, limit: &str) -> bool {
    refusal.code == Code::ResourceExhausted
        && refusal.reason.as_deref() == Some(reason)
        && refusal.metadata["resource"] == resource
        && refusal.metadata["limit"] == limit
}

#[tokio::test]
async fn a_key_that_is_used_too_fast_says_how_long_to_wait_and_leaves_no_trace() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let limits = v1::Key { max_uses_per_second: 1, max_burst: 3, ..v1::Key::default() };
    let key = paced(&operator, "slow", Algorithm::Ed25519, limits).await;
    let shown = get_key(&operator, &key).await;
    assert_eq!((shown.max_uses_per_second, shown.max_burst, shown.max_concurrent_uses), (1, 3, 0));
    let (made, refused) = sign_until_refused(&caller, &key).await;
    assert!(made >= 3, "{made} signatures of a burst of 3");
    assert!(is(&refused, "KEY_RATE_LIMIT", &key, "max_uses_per_second"), "{refused}");
    let wait = refused.retry_after.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    assert_eq!(intents(&operator, &key, "").await, made, "what is refused is not on the record");
    let counted = metric(chancery.admin_endpoint().unwrap(), "chancery_refusals_total", "KEY_RATE_LIMIT");
    assert!(counted >= 1.0, "{counted}");

    // The client waits as it is told, and comes again.
    let again = caller.sign(&key, b"m".to_vec(), chancery_client::EcdsaEncoding::Der).await.unwrap();
    assert!(again.record_index > 0);
    // Another rate holds at once.
    let faster = v1::Key { name: key.clone(), max_uses_per_second: 1_000_000, ..v1::Key::default() };
    update(&operator, faster, &["max_uses_per_second", "max_burst"]).await.unwrap();
    for _ in 0..20 {
        eventually("there is a use again", async || caller.signing().sign(sign(&key, b"m")).await.ok()).await;
    }
    let none = v1::Key { name: key.clone(), ..v1::Key::default() };
    update(&operator, none, &["max_uses_per_second"]).await.unwrap();
    caller.signing().sign(sign(&key, b"m")).await.unwrap();
}

#[tokio::test]
async fn of_a_batch_a_key_makes_all_items_or_none() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    // It takes two minutes to fill again, however busy the machine is.
    const BURST: usize = 120;
    let limits = v1::Key { max_uses_per_second: 1, max_burst: 120, ..v1::Key::default() };
    let key = paced(&operator, "batched", Algorithm::EcdsaP256Sha256, limits).await;
    let one_at_a_time = v1::Key { max_concurrent_uses: 1, ..v1::Key::default() };
    let narrow = paced(&operator, "narrow", Algorithm::EcdsaP256Sha256, one_at_a_time).await;
    let free = create(&operator, new_key(RING, "free", Algorithm::EcdsaP256Sha256)).await.name;
    let batch = async |counts: [usize; 3]| {
        let names = [&key, &narrow, &free];
        let of = |(name, count): (&&String, usize)| vec![sign(name, b"m"); count];
        let requests = names.iter().zip(counts).flat_map(of).collect();
        let answer = caller.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner();
        item_refusals(answer.results)
    };
    // More than the burst, and more than may be under way: no waiting helps.
    let ends = batch([BURST + 1, 2, 3]).await;
    for (item, end) in ends.iter().enumerate() {
        match (item, end) {
            (..=BURST, Some(refused)) => {
                assert!(is(refused, "KEY_RATE_LIMIT", &key, "max_burst"), "{refused}");
                assert!(refused.retry_after.is_none() && refused.message.contains("at most 120"), "{refused}");
            }
            (item, Some(refused)) if item <= BURST + 2 => {
                assert!(is(refused, "KEY_CONCURRENCY_LIMIT", &narrow, "max_concurrent_uses"), "{refused}");
                assert!(refused.retry_after.is_none() && refused.message.contains("at most 1"), "{refused}");
            }
            (item, None) if item > BURST + 2 => {}
            (item, end) => panic!("item {item}: {end:?}"),
        }
    }
    assert_eq!(intents(&operator, &key, "").await, 0);
    // What was refused took nothing from the burst.
    assert_eq!(batch([BURST, 1, 1]).await, vec![None; BURST + 2]);
    let ends = batch([BURST, 1, 1]).await;
    assert!(
        ends[..BURST].iter().all(|end| end.as_ref().is_some_and(|refused| refused.retry_after.is_some())),
        "{ends:?}"
    );
    assert_eq!(ends[BURST..], [None, None]);
}

#[tokio::test]
async fn macs_jwts_and_each_message_of_a_stream_are_uses() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let limits = || v1::Key { max_uses_per_second: 1, max_burst: 2, ..v1::Key::default() };
    let mac_key = paced(&operator, "mac", Algorithm::HmacSha256, limits()).await;
    let make = || v1::MacSignRequest { name: mac_key.clone(), message: "m".into(), message_crc32c: None };
    let mac = caller.signing().mac_sign(make()).await.unwrap().into_inner().mac;
    let checks = async || {
        let (message, mac) = ("m".into(), mac.clone().into());
        let check = v1::MacVerifyRequest { name: mac_key.clone(), message, mac, ..v1::MacVerifyRequest::default() };
        caller.signing().mac_verify(check).await
    };
    let mut refused = None;
    for _ in 0..100 {
        if let Err(status) = checks().await {
            refused = Some(refusal(status));
            break;
        }
    }
    assert!(is(&refused.unwrap(), "KEY_RATE_LIMIT", &mac_key, "max_uses_per_second"));

    let key = paced(&operator, "streamed", Algorithm::Ed25519, limits()).await;
    let mut stream = SignStream::open(&channel_as(&chancery, "caller").await).await;
    let mut refused = 0;
    for number in 0..100 {
        match stream.sign(&format!("m{number}"), &key, b"m").await {
            Answer::Signed(_) => {}
            Answer::Refused(error) => {
                assert!(is(&error, "KEY_RATE_LIMIT", &key, "max_uses_per_second"), "{error}");
                refused += 1;
            }
        }
    }
    // The stream is open all the same: a message of another key is signed.
    let other = create(&operator, new_key(RING, "beside", Algorithm::Ed25519)).await.name;
    assert!(matches!(stream.sign("last", &other, b"m").await, Answer::Signed(_)));
    assert!(refused > 0);
    let claims = || v1::SignJwtRequest { name: key.clone(), claims: r#"{"sub":"a"}"#.to_owned(), ..Default::default() };
    let jwt = async || caller.signing().sign_jwt(claims()).await;
    eventually("a JWT is a use", async || jwt().await.err().map(refusal)).await;
}

#[tokio::test]
async fn a_caller_that_asks_too_fast_is_refused_as_a_whole_and_others_are_not() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let (batch, other) = (chancery.connect_as("batch").await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "shared", Algorithm::Ed25519)).await.name;
    let limits =
        v1::Caller { name: "callers/batch".to_owned(), max_uses_per_second: 1, max_burst: 4, ..v1::Caller::default() };
    limit_caller(&operator, limits, &["max_uses_per_second", "max_burst"]).await.unwrap();
    let requests = vec![sign(&key, b"m"); 5];
    let refused = batch.signing().batch_sign(v1::BatchSignRequest { requests }).await;
    let refused = assert_refused(refused, Code::ResourceExhausted, "CALLER_RATE_LIMIT");
    assert!(is(&refused, "CALLER_RATE_LIMIT", "callers/batch", "max_burst") && refused.retry_after.is_none());
    let (made, refused) = sign_until_refused(&batch, &key).await;
    assert!(made >= 4, "{made}");
    assert!(is(&refused, "CALLER_RATE_LIMIT", "callers/batch", "max_uses_per_second"), "{refused}");
    assert!(refused.retry_after.is_some_and(|wait| wait <= Duration::from_secs(1)), "{refused}");
    assert_eq!(intents(&operator, "", "callers/batch").await, made);
    let random = v1::GenerateRandomBytesRequest { name: RING.to_owned(), length: 8 };
    eventually("random bytes are a use", async || {
        let refused = batch.signing().generate_random_bytes(random.clone()).await.err().map(refusal)?;
        (refused.reason.as_deref() == Some("CALLER_RATE_LIMIT")).then_some(())
    })
    .await;
    // Reading costs nothing, nor does what others do.
    for _ in 0..20 {
        batch.keys().get_key(v1::GetKeyRequest { name: key.clone() }).await.unwrap();
        other.signing().sign(sign(&key, b"m")).await.unwrap();
    }
    unlimited(&operator).await;
    for _ in 0..20 {
        batch.signing().sign(sign(&key, b"m")).await.unwrap();
    }
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let named = |caller: v1::Caller| v1::Caller { name: "callers/batch".to_owned(), ..caller };
    let burst = named(v1::Caller { max_burst: 5, ..v1::Caller::default() });
    let description = assert_field(limit_caller(&operator, burst, &["max_burst"]).await, "caller.max_burst");
    assert!(description.contains("max_uses_per_second"), "{description}");
    let fast = named(v1::Caller { max_uses_per_second: 1_000_001, ..v1::Caller::default() });
    assert_field(limit_caller(&operator, fast, &["max_uses_per_second"]).await, "caller.max_uses_per_second");
    let many = named(v1::Caller { max_signatures: u64::MAX, ..v1::Caller::default() });
    assert_field(limit_caller(&operator, many, &["max_signatures"]).await, "caller.max_signatures");
    let key = v1::Key { max_burst: 5, algorithm: Algorithm::Ed25519.into(), ..v1::Key::default() };
    let request = v1::CreateKeyRequest { key: Some(key), ..new_key(RING, "odd", Algorithm::Ed25519) };
    assert_field(operator.keys().create_key(request).await, "key.max_burst");
}

/// On a service of its own: its worker is stopped, so that calls stay under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_caller_have_so_many_uses_under_way_and_no_more() {
    // The service's own signatures would be with the token as well.
    let chancery = setup().configure(chancery_tests::faults::without_checkpoints).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let (batch, caller) = (chancery.connect_as("batch").await.unwrap(), chancery.caller().await.unwrap());
    let limits = v1::Key { max_concurrent_uses: 2, ..v1::Key::default() };
    let key = paced(&operator, "two", Algorithm::EcdsaP256Sha256, limits).await;
    let free = load::create_key(&operator, "free").await;
    let limits = v1::Caller { name: "callers/batch".to_owned(), max_concurrent_calls: 3, ..v1::Caller::default() };
    limit_caller(&operator, limits, &["max_concurrent_calls"]).await.unwrap();
    load::sign(&caller, &key, "the worker has done all that it does before it signs").await.unwrap();
    let worker = token(&operator).await.worker_pid;
    stop(worker).await;
    let waiting = |client: &Client, key: &str| {
        let (client, key) = (client.clone(), key.to_owned());
        tokio::spawn(async move { load::sign(&client, &key, "m").await })
    };
    let under_way = async |count: u64| {
        let all = async || {
            let token = token(&operator).await;
            (u64::from(token.in_flight) + u64::from(token.queued) == count).then_some(())
        };
        eventually("the calls are with the token", all).await;
    };
    let mut calls = vec![waiting(&batch, &key), waiting(&caller, &key)];
    under_way(2).await;
    let refused = |end: Result<chancery_client::Signed, ClientError>, reason: &str| {
        let error = end.unwrap_err();
        assert_eq!((error.code(), error.reason()), (Some(Code::ResourceExhausted), Some(reason)), "{error:?}");
    };
    let status = caller.signing().sign(sign(&key, b"m")).await.unwrap_err();
    let refused_by_key = refusal(status);
    assert!(is(&refused_by_key, "KEY_CONCURRENCY_LIMIT", &key, "max_concurrent_uses"), "{refused_by_key}");
    assert!(refused_by_key.retry_after.is_some());
    // Another key goes on; of the caller's three calls, these are the last two.
    calls.extend([waiting(&batch, &free), waiting(&batch, &free)]);
    under_way(4).await;
    refused(load::sign(&batch, &free, "m").await, "CALLER_LIMIT");
    signal(worker, "CONT").unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // Their places are free again.
    for client in [&batch, &caller] {
        load::sign(client, &key, "m").await.unwrap();
    }
    chancery.stop().await.unwrap();
}

/// On a service of its own, which is killed in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_gets_exactly_as_many_signatures_as_it_may_whatever_the_key() {
    let began = time::OffsetDateTime::now_utc();
    let mut chancery = setup().start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let keys = [load::create_key(&operator, "a").await, load::create_key(&operator, "b").await];
    let limited = v1::Caller { name: "callers/batch".to_owned(), max_signatures: 60, ..v1::Caller::default() };
    limit_caller(&operator, limited, &["max_signatures"]).await.unwrap();
    let mut made = 0;
    for round in 0..2 {
        let batch = chancery.connect_as("batch").await.unwrap();
        let calls: Vec<_> = (0..16)
            .map(|number| {
                let (batch, key) = (batch.clone(), keys[number % 2].clone());
                tokio::spawn(async move {
                    let mut made = 0;
                    for _ in 0..2 + 8 * round {
                        match batch.signing().sign(sign(&key, b"m")).await {
                            Ok(_) => made += 1,
                            Err(status) => {
                                let refused = refusal(status);
                                assert!(is(&refused, "CALLER_USAGE_LIMIT", "callers/batch", "max_signatures"));
                                assert_eq!(refused.retry_after, None, "waiting does not help");
                            }
                        }
                    }
                    made
                })
            })
            .collect();
        for call in calls {
            made += call.await.unwrap();
        }
        if round == 0 {
            assert_eq!(made, 32);
            chancery.kill().unwrap();
            chancery.restart().await.unwrap();
        }
    }
    assert_eq!(made, 60);
    let operator = chancery.operator().await.unwrap();
    let shown = async || {
        let request = v1::GetCallerRequest { name: "callers/batch".to_owned() };
        operator.callers().get_caller(request).await.unwrap().into_inner()
    };
    let caller = shown().await;
    assert_eq!((caller.max_signatures, caller.signature_count), (60, 60));
    // Fewer where midnight came in between.
    let same_day = time::OffsetDateTime::now_utc().date() == began.date();
    assert!(caller.daily_signature_count == 60 || !same_day && caller.daily_signature_count < 60, "{caller:?}");
    assert_eq!(intents(&operator, "", "callers/batch").await, 60);
    // Of a batch, those that there is room for are made.
    let more = v1::Caller { name: "callers/batch".to_owned(), max_signatures: 63, ..v1::Caller::default() };
    limit_caller(&operator, more, &["max_signatures"]).await.unwrap();
    let batch = chancery.connect_as("batch").await.unwrap();
    let requests = vec![sign(&keys[0], b"m"); 5];
    let answer = batch.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner();
    let refused = item_refusals(answer.results).into_iter().map(|end| end.is_some()).collect::<Vec<_>>();
    assert_eq!(refused, [false, false, false, true, true]);
    let listed = operator.callers().list_callers(v1::ListCallersRequest::default()).await.unwrap().into_inner();
    let listed = listed.callers.into_iter().find(|caller| caller.name == "callers/batch").unwrap();
    assert_eq!(listed.signature_count, 63);
    assert_eq!(unlimited(&operator).await.signature_count, 0, "without a limit nothing is counted");
    batch.signing().sign(sign(&keys[0], b"m")).await.unwrap();
    chancery.stop().await.unwrap();
}

/// On a service of its own, whose configuration says how fast callers go.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_says_is_for_callers_without_a_rate_of_their_own() {
    let chancery = setup()
        .configure(|config| {
            let limits = [("caller_uses_per_second", 1), ("caller_burst", 3)];
            let limits = limits.map(|(name, value)| (name.to_owned(), toml::Value::Integer(value)));
            config.insert("limits".to_owned(), toml::Value::Table(limits.into_iter().collect()));
        })
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = load::create_key(&operator, "k").await;
    let own = v1::Caller { name: "callers/batch".to_owned(), max_uses_per_second: 100_000, ..v1::Caller::default() };
    limit_caller(&operator, own, &["max_uses_per_second"]).await.unwrap();
    let (batch, caller) = (chancery.connect_as("batch").await.unwrap(), chancery.caller().await.unwrap());
    let (made, refused) = sign_until_refused(&caller, &key).await;
    assert!(made >= 3 && is(&refused, "CALLER_RATE_LIMIT", "callers/caller", "max_uses_per_second"), "{refused}");
    for _ in 0..50 {
        batch.signing().sign(sign(&key, b"m")).await.unwrap();
    }
    chancery.stop().await.unwrap();
}

fn request(key: &KeyName) -> SignRequest {
    let input = Input::Message(Bytes::from_static(b"m"));
    let name = KeyOrVersion::Key(key.clone());
    SignRequest { name, input, encoding: EcdsaEncoding::Der, caller_signature: None, receipt: false }
}

#[tokio::test]
async fn by_the_clock_a_rate_is_exact() {
    let office = Office::open().await;
    let rules = RuleChanges { max_uses_per_second: Some(Some(4)), max_burst: Some(Some(3)), ..RuleChanges::default() };
    let key = office.create("four", rules).await;
    let wait = async || match office.sign(&key).await {
        Ok(_) => None,
        Err(Error::RateLimit { of: Limited::Key(of), uses: 1, retry_after: Some(wait), .. }) if of == key => Some(wait),
        Err(error) => panic!("{error}"),
    };
    for _ in 0..3 {
        assert_eq!(wait().await, None);
    }
    assert_eq!(wait().await, Some(Duration::from_millis(250)));
    office.pass(Duration::from_micros(249_999));
    assert_eq!(wait().await, Some(Duration::from_micros(1)));
    office.pass(Duration::from_micros(1));
    assert_eq!(wait().await, None);
    assert_eq!(wait().await, Some(Duration::from_millis(250)));
    // The clock is set back: what is told is waited for from then on.
    office.set_clock(Timestamp::from_unix_micros(office.now().unix_micros() - 86_400_000_000));
    assert_eq!(wait().await, Some(Duration::from_millis(250)));
    office.pass(Duration::from_millis(250));
    assert_eq!(wait().await, None);
    // However long nobody asks, there is a burst and no more.
    office.pass(DAY);
    for _ in 0..3 {
        assert_eq!(wait().await, None);
    }
    assert!(wait().await.is_some());
}

#[tokio::test]
async fn what_a_key_refuses_costs_its_caller_nothing_and_the_other_way_round() {
    let office = Office::open().await;
    let rules = |burst| RuleChanges {
        max_uses_per_second: Some(Some(1)),
        max_burst: Some(Some(burst)),
        ..RuleChanges::default()
    };
    let (tight, loose) = (office.create("tight", rules(2)).await, office.create("loose", rules(50)).await);
    let rate =
        LimitChanges { max_uses_per_second: Some(Some(1)), max_burst: Some(Some(10)), ..LimitChanges::default() };
    office.limit_caller("signer", rate).await;
    let signer = office.requester("signer");
    let batch = async |of: &[(&KeyName, usize)]| {
        let requests = of.iter().flat_map(|(key, count)| (0..*count).map(|_| Ok(request(key))));
        office
            .core
            .batch_sign(&signer, requests.collect())
            .await
            .map(|ends| ends.iter().filter(|end| end.is_ok()).count())
    };
    let refused = |end: Result<usize, Error>| matches!(end, Err(Error::RateLimit { of: Limited::Caller(caller), .. }) if caller.as_str() == "signer");
    // Eleven are more than the caller ever may; of three, the tight key allows none.
    assert!(refused(batch(&[(&tight, 1), (&loose, 10)]).await));
    assert_eq!(batch(&[(&tight, 3), (&loose, 4)]).await.unwrap(), 4);
    // Six are left of ten, and two of the tight key's.
    assert!(refused(batch(&[(&tight, 2), (&loose, 5)]).await));
    assert_eq!(batch(&[(&tight, 2), (&loose, 4)]).await.unwrap(), 6);
    assert!(refused(batch(&[(&loose, 1)]).await));
    // A key that does not exist, or a use that policy refuses, takes nothing.
    office.pass(Duration::from_secs(1));
    let nowhere = "keyRings/dev/keys/nowhere".parse().unwrap();
    assert!(matches!(office.sign(&nowhere).await, Err(Error::AccessDenied { .. })));
    assert_eq!(batch(&[(&loose, 1)]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_callers_day_begins_at_midnight_whatever_the_key() {
    let office = Office::open().await;
    let midnight = office.now();
    office.pass(Duration::from_secs(20 * 3600));
    let keys = [office.create("a", RuleChanges::default()).await, office.create("b", RuleChanges::default()).await];
    office
        .limit_caller("signer", LimitChanges { max_daily_signatures: Some(Some(2)), ..LimitChanges::default() })
        .await;
    for key in &keys {
        office.sign(key).await.unwrap();
    }
    for key in &keys {
        match office.sign(key).await.unwrap_err() {
            Error::UsageLimit {
                of: Limited::Caller(of),
                kind: LimitKind::Daily,
                limit: 2,
                retry_after: Some(wait),
            } => {
                assert_eq!((of.as_str(), wait), ("signer", Duration::from_secs(4 * 3600)));
            }
            error => panic!("{error}"),
        }
    }
    let office = office.reopen().await;
    assert!(office.sign(&keys[0]).await.is_err(), "a restart gives nothing back");
    office.set_clock(midnight.after(DAY));
    office.sign(&keys[0]).await.unwrap();
}

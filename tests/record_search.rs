//! Searching the record: who signed this, what did a request do, what was refused; bounded pages of a long record; and one
//! record explained to a person.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::process::Command;

use aws_lc_rs::digest;
use chancery_api::v1::{self, Algorithm, RecordDecision, RecordKind};
use chancery_audit::{Details, Intent, Log, LogSettings, Outcome, OutcomeItem, OutcomeResult};
use chancery_client::{Client, RecordQuery};
use chancery_model::{Action, Id, Timestamp, Uid};
use chancery_testkit::Chancery;
use chancery_tests::contract::{create, eventually, hex, message, new_key, records, sha256, sign};
use chancery_tests::hand;
use chancery_tests::program::{run, succeed};
use serde_json::Value;
use tonic::Request;

const RING: &str = "keyRings/dev";
const NONE: [u64; 0] = [];

fn all() -> v1::ListRecordsRequest {
    v1::ListRecordsRequest::default()
}

fn indexes(records: &[v1::AuditRecord]) -> Vec<u64> {
    records.iter().map(|record| record.index).collect()
}

fn audit(chancery: &Chancery, words: &[&str]) -> Command {
    let mut command = chancery.cli();
    command.arg("audit").args(words);
    command
}

fn listed(chancery: &Chancery, words: &[&str]) -> Vec<u64> {
    let said = succeed(audit(chancery, &["list", "-o", "json"]).args(words));
    let list: Value = serde_json::from_str(&said).unwrap();
    list["records"].as_array().unwrap().iter().map(|record| record["index"].as_u64().unwrap()).collect()
}

/// The intent's record, once its outcome is on the record.
async fn ended(operator: &Client, index: u64) -> chancery_client::Record {
    eventually("an outcome", async || {
        operator.get_record(index).await.unwrap().filter(|record| record.outcome_index.is_some())
    })
    .await
}

#[tokio::test]
async fn a_digest_leads_to_whoever_signed_it() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let long = create(&operator, new_key(RING, "long", Algorithm::EcdsaP384Sha384)).await.name;
    let pure = create(&operator, new_key(RING, "pure", Algorithm::Ed25519)).await.name;
    let key = v1::Key {
        algorithm: Algorithm::EcdsaP256Sha256.into(),
        max_jwt_lifetime: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..v1::Key::default()
    };
    let tokens = v1::CreateKeyRequest { key: Some(key), ..new_key(RING, "tokens", Algorithm::EcdsaP256Sha256) };
    let tokens = create(&operator, tokens).await.name;

    let text = b"the contract";
    let index =
        async |key: &str, text: &[u8]| caller.signing().sign(sign(key, text)).await.unwrap().into_inner().record_index;
    let (by_long, by_pure, other) = (index(&long, text).await, index(&pure, text).await, index(&long, b"else").await);
    let items = [text.as_slice(), b"a third"];
    let requests = items.map(|text| v1::SignRequest { input: message(text), ..sign(&pure, text) }).into();
    let batch = v1::BatchSignRequest { requests };
    caller.signing().batch_sign(batch).await.unwrap();
    let claims = r#"{"sub":"till"}"#.to_owned();
    let request = v1::SignJwtRequest { name: tokens, claims, ..v1::SignJwtRequest::default() };
    let jwt = caller.signing().sign_jwt(request).await.unwrap().into_inner();

    let of =
        async |digest: &[u8]| records(&operator, v1::ListRecordsRequest { digest: digest.to_vec(), ..all() }).await;
    let sha384 = digest::digest(&digest::SHA384, text).as_ref().to_vec();
    let found = of(&sha384).await;
    assert_eq!(indexes(&found), [by_long], "not {other}");
    assert_eq!(
        (found[0].caller.as_str(), found[0].resource.as_str()),
        ("callers/caller", &*format!("{long}/versions/1"))
    );
    let found = of(&sha256(text)).await;
    assert_eq!(found.len(), 2, "alone and in the batch; newest first");
    assert!(found[0].index > by_pure && found[1].index == by_pure);
    // A digest that begins alike is another.
    let mut alike = sha384.clone();
    alike[47] ^= 1;
    assert_eq!(indexes(&of(&alike).await), NONE);
    assert_eq!(indexes(&of(&[7; 64]).await), NONE);

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let contract = file("contract", text);
    let expected = [found[0].index, by_pure, by_long];
    assert_eq!(listed(&chancery, &["--file", &contract]), expected, "by every hash function, newest first");
    let [newest, middle, oldest] = expected;
    assert_eq!(listed(&chancery, &["--file", &contract, "--oldest-first"]), [oldest, middle, newest]);
    assert_eq!(listed(&chancery, &["--file", &contract, "--limit", "2"]), [newest, middle]);
    assert_eq!(listed(&chancery, &["--digest", &hex(&sha384).to_uppercase()]), [by_long]);
    assert_eq!(listed(&chancery, &["--jwt", &file("jwt", format!("{}\n", jwt.token).as_bytes())]), [jwt.record_index]);
    assert_eq!(listed(&chancery, &["--file", &file("unsigned", b"never")]), NONE);
    let (said, code) = run(audit(&chancery, &["list", "--digest", "abcd"]).args(["--file", &contract]));
    assert!(code == Some(2) && said.contains("--digest"), "{said}");
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn a_trace_leads_to_what_the_request_did_and_decisions_are_told_apart() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "traced", Algorithm::Ed25519)).await.name;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traced = |key: &str| {
        let mut request = Request::new(sign(key, b"m"));
        request.metadata_mut().insert("traceparent", format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap());
        request
    };
    let signed = caller.signing().sign(traced(&key)).await.unwrap().into_inner().record_index;
    caller.signing().sign(sign(&key, b"m")).await.unwrap();
    caller.signing().sign(traced(&format!("{RING}/keys/nothing"))).await.unwrap_err();

    let query = |decision: RecordDecision, trace_id: &str| v1::ListRecordsRequest {
        decision: decision.into(),
        trace_id: trace_id.to_owned(),
        oldest_first: true,
        ..all()
    };
    let both = eventually("the denial on the record", async || {
        let found = records(&operator, query(RecordDecision::Unspecified, trace)).await;
        (found.len() == 2).then_some(found)
    })
    .await;
    assert_eq!((both[0].index, both[0].kind()), (signed, RecordKind::Intent));
    assert_eq!(both[1].kind(), RecordKind::Denial);
    assert_eq!(records(&operator, query(RecordDecision::Allow, trace)).await, both[..1]);
    assert_eq!(records(&operator, query(RecordDecision::Deny, trace)).await, both[1..]);
    let denied = records(&operator, query(RecordDecision::Deny, "")).await;
    assert!(denied.contains(&both[1]) && denied.iter().all(|record| record.kind() == RecordKind::Denial));
    let allowed = records(&operator, query(RecordDecision::Allow, "")).await;
    assert!(allowed.iter().all(|record| [RecordKind::Intent, RecordKind::Act].contains(&record.kind())));
    assert!(allowed.iter().any(|record| record.kind() == RecordKind::Act));
    assert_eq!(listed(&chancery, &["--trace-id", trace, "--decision", "allow"]), [signed]);
    assert_eq!(listed(&chancery, &["--trace-id", trace, "--decision", "deny", "--caller", "operator"]), NONE);
    let (from, before) = (signed.to_string(), (signed + 1).to_string());
    assert_eq!(listed(&chancery, &["--start-index", &from, "--end-index", &before]), [signed]);
    assert_eq!(operator.get_record(1 << 40).await.unwrap(), None);
    chancery.stop().await.unwrap();
}

/// Adds intents with their outcomes to the record of a service that is stopped, by the code that makes every record.
async fn lengthen(chancery: &Chancery, intents: u64) {
    let (writer, _) = hand::store(&chancery.dir().join("chancery.db")).unwrap();
    let epoch = writer.head().unwrap().epoch;
    let log = Log::start(writer, LogSettings::new(Id::parse("the instance", "elsewhere").unwrap())).unwrap();
    let caller = Uid::from_bytes([1; 16]);
    let intent = || Intent {
        time: Timestamp::now(),
        caller,
        resource: Uid::from_bytes([2; 16]),
        action: Action::Sign,
        policy_set: [3; 32],
        counts: Vec::new(),
        details: Details {
            caller: Some("busy".to_owned()),
            resource: Some("keyRings/dev/keys/busy/versions/1".to_owned()),
            ..Details::default()
        },
    };
    for _ in 0..intents.div_ceil(500) {
        let slot = log.reserve(caller, 500).unwrap();
        let recorded = log.record_intents(epoch, (0..500).map(|_| intent()).collect()).await.unwrap();
        let item = |index| OutcomeItem { intent: index, result: OutcomeResult::Abandoned, signature_sha256: None };
        let items = recorded.iter().map(|recorded| item(recorded.index())).collect();
        log.record_outcome(slot, Outcome { time: Timestamp::now(), items, details: Details::default() });
    }
    log.shutdown().await;
}

#[tokio::test]
async fn a_search_of_a_long_record_is_cut_into_calls_of_bounded_work_and_loses_nothing() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "rare", Algorithm::Ed25519)).await.name;
    let caller = chancery.caller().await.unwrap();
    let early = caller.signing().sign(sign(&key, b"early")).await.unwrap().into_inner().record_index;
    ended(&operator, early).await;
    assert!(chancery.terminate().await.unwrap().success());
    lengthen(&chancery, 25_000).await;
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let late = caller.signing().sign(sign(&key, b"late")).await.unwrap().into_inner().record_index;
    ended(&operator, late).await;

    // What has an index is found at once, however much lies between; and so are pairs of which one does.
    let one_page = async |request: v1::ListRecordsRequest| {
        let page = operator.audit().list_records(request).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "", "one page");
        indexes(&page.records)
    };
    let intents = v1::ListRecordsRequest { kind: RecordKind::Intent.into(), resource: key.clone(), ..all() };
    assert_eq!(one_page(intents.clone()).await, [late, early]);
    let by_caller = v1::ListRecordsRequest { caller: "callers/caller".to_owned(), action: "Sign".to_owned(), ..all() };
    assert_eq!(one_page(v1::ListRecordsRequest { kind: RecordKind::Intent.into(), ..by_caller }).await, [late, early]);
    assert_eq!(one_page(v1::ListRecordsRequest { digest: sha256(b"early"), ..all() }).await, [early]);

    // Every index that fits is long, and nothing in it matches: each call looks at its 10,000 and says where to go on.
    let nothing = v1::ListRecordsRequest { caller: "callers/busy".to_owned(), action: "Sign".to_owned(), ..all() };
    let nothing = v1::ListRecordsRequest { kind: RecordKind::Outcome.into(), ..nothing };
    let mut request = nothing.clone();
    let mut calls = 0;
    loop {
        let page = operator.audit().list_records(request.clone()).await.unwrap().into_inner();
        calls += 1;
        assert_eq!(indexes(&page.records), NONE, "these outcomes name no caller");
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // Meanwhile the record grows.
        caller.signing().sign(sign(&key, b"meanwhile")).await.unwrap();
    }
    assert_eq!(calls, 3, "25,000 entries of the index, 10,000 a call");
    assert_eq!(listed(&chancery, &["--caller", "busy", "--action", "Sign", "--kind", "outcome"]), NONE);

    // Both orders find the same, each once, across short pages.
    let query = |oldest_first| v1::ListRecordsRequest {
        kind: RecordKind::Intent.into(),
        page_size: 1_000,
        end_index: Some(late + 1),
        oldest_first,
        ..all()
    };
    let mut newest_first = indexes(&records(&operator, query(false)).await);
    newest_first.reverse();
    assert_eq!(newest_first.len(), 25_002);
    assert!(newest_first.is_sorted_by(|one, next| one < next));
    assert_eq!(indexes(&records(&operator, query(true)).await), newest_first);
    let by_client = operator.list_records(RecordQuery { digest: Some(sha256(b"early")), ..RecordQuery::default() });
    assert_eq!(by_client.collect().await.unwrap().len(), 1);
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn one_record_is_explained_to_a_person() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "shown", Algorithm::Ed25519)).await.name;
    let signed = caller.signing().sign(sign(&key, b"m")).await.unwrap().into_inner();
    let record = ended(&operator, signed.record_index).await;
    let outcome = record.outcome_index.unwrap();
    let shown = succeed(&mut audit(&chancery, &["show", &signed.record_index.to_string()]));
    for part in [
        format!("The caller caller was allowed Sign on {key}/versions/1."),
        "the certificate of spiffe://".to_owned(),
        format!("SHA-256 {}", hex(&sha256(b"m"))),
        "ALLOW, by ".to_owned(),
        format!("record {outcome}, "),
        format!("DONE, it was done; the signature's SHA-256 is {}", hex(&sha256(&signed.signature))),
        "holds: the leaf commits to exactly these details".to_owned(),
    ] {
        assert!(shown.contains(&part), "{part:?} is not in:\n{shown}");
    }
    let json = succeed(audit(&chancery, &["show", &signed.record_index.to_string()]).args(["-o", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["commitment"], &json["record"]["index"]), (&"HOLDS".into(), &signed.record_index.into()));
    assert_eq!(json["outcome"]["outcomes"][0]["record_index"], signed.record_index);

    let shown = succeed(&mut audit(&chancery, &["show", &outcome.to_string()]));
    assert!(shown.contains(&format!("What record {} began has ended: DONE.", signed.record_index)), "{shown}");
    let created = records(&operator, v1::ListRecordsRequest { action: "CreateKey".to_owned(), ..all() }).await;
    let act = created.iter().find(|record| record.kind() == RecordKind::Act).unwrap();
    let shown = succeed(&mut audit(&chancery, &["show", &act.index.to_string()]));
    assert!(shown.contains("The caller operator began CreateKey") && shown.contains("a key, a key version"), "{shown}");
    operator.signing().sign(sign(&key, b"m")).await.unwrap_err();
    let denied = eventually("the denial", async || {
        let query = v1::ListRecordsRequest { decision: RecordDecision::Deny.into(), ..all() };
        records(&operator, query).await.into_iter().find(|record| record.caller == "callers/operator")
    })
    .await;
    let shown = succeed(&mut audit(&chancery, &["show", &denied.index.to_string()]));
    assert!(shown.contains("The caller operator was refused Sign on") && shown.contains("FORBIDDEN"), "{shown}");
    let shown = succeed(&mut audit(&chancery, &["show", "0"]));
    assert!(shown.contains("The service itself began an act of its own on keyRings/system/keys/state/"), "{shown}");
    let (said, code) = run(&mut audit(&chancery, &["show", "1000000"]));
    assert!(code == Some(6) && said.contains("there is no record 1000000"), "{said}");
    let (said, code) = run(audit(&chancery, &["show", "0"]).args(["--as", "caller"]));
    assert_eq!(code, Some(5), "{said}");
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn whatever_a_record_is_about_can_be_searched_for() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("api-key");
    let _key = succeed(chancery.cli().args(["keys", "create", "dev/k", "-a", "ED25519"]));
    let issue =
        ["api-keys", "issue", "caller", "--lifetime", "1d", "--action", "sign", "--key-ring", "dev", "--key-file"];
    let _issued = succeed(chancery.cli().args(issue).arg(&key_file));
    let _frozen = succeed(chancery.cli().args(["rings", "freeze", "dev", "--reason", "test"]));
    let refused: [&[&str]; 5] =
        [&["audit", "list"], &["policy", "get"], &["token", "list"], &["token", "show", "main"], &["callers", "list"]];
    for words in refused {
        let (said, code) = run(chancery.cli().args(words).args(["--as", "caller"]));
        assert!(code == Some(5), "{words:?}: {said}");
    }
    let everything = || -> Vec<Value> {
        let said = succeed(&mut audit(&chancery, &["list", "-o", "json", "--limit", "1000"]));
        serde_json::from_str::<Value>(&said).unwrap()["records"].as_array().unwrap().clone()
    };
    let about = |record: &Value| record["resource"].as_str().unwrap().to_owned();
    let list = eventually("the denials on the record", async || {
        let list = everything();
        ["auditLog", "policySet", "tokens", "tokens/main", "callers"]
            .iter()
            .all(|wanted| list.iter().any(|record| about(record) == *wanted))
            .then_some(list)
    })
    .await;
    let mut kinds = std::collections::BTreeSet::new();
    for record in &list {
        let resource = about(record);
        if resource.is_empty() {
            continue;
        }
        let (index, shape) =
            (record["index"].as_u64().unwrap(), resource.split('/').step_by(2).collect::<Vec<_>>().join("/"));
        kinds.insert(shape);
        assert!(listed(&chancery, &["--resource", &resource]).contains(&index), "{resource}");
    }
    let all = ["auditLog", "callers", "callers/apiKeys", "keyRings", "keyRings/keys/versions", "policySet", "tokens"];
    assert!(all.iter().all(|shape| kinds.contains(*shape)), "{kinds:?}");
    // What is below it, but not of a list.
    let of_caller = listed(&chancery, &["--resource", "callers/caller"]);
    assert!(list.iter().any(|record| about(record).starts_with("callers/caller/apiKeys/")
        && of_caller.contains(&record["index"].as_u64().unwrap())));
    let refused = v1::ListRecordsRequest { resource: "everything".to_owned(), ..self::all() };
    let operator = chancery.operator().await.unwrap();
    let status = operator.audit().list_records(refused).await.unwrap_err();
    assert!(
        status.message().contains("callers/{caller}/apiKeys/{id}") && status.message().contains("auditLog"),
        "{status}"
    );
    chancery.stop().await.unwrap();
}

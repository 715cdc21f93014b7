//! Callers from outside: registered, changed, suspended and resumed while the service runs; who may do that to whom; what
//! is on the record of it; and that the configuration counts once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeMap;

use chancery_api::v1::{self, Algorithm, AuthenticationFactor};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Leaf, Setup};
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, create, eventually, new_key, records, refused, sign, uuid,
};
use chancery_tests::load::details;
use chancery_tests::program::{self, Running, chancery, command, succeed};
use chancery_tests::streams::{SignStream, channel_as};
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";

fn setup() -> Setup {
    let live_admin = CallerSetup::new("live-admin").environment("prod").role("caller-administrator").ring("live");
    Chancery::setup()
        .ring("live", "prod")
        .with(live_admin.role("key-administrator"))
        .with(CallerSetup::new("live-auditor").environment("prod").role("auditor"))
        .with(CallerSetup::new("registrar").role("caller-administrator"))
}

fn spiffe(id: &str) -> String {
    format!("spiffe://chancery.dev/{id}")
}

/// A request for a signer of the ring `dev`, known by its SPIFFE id.
fn signer(id: &str) -> v1::CreateCallerRequest {
    let caller = v1::Caller {
        environment: "dev".to_owned(),
        identities: vec![spiffe(id)],
        roles: vec!["signer".to_owned()],
        key_rings: vec![RING.to_owned()],
        ..v1::Caller::default()
    };
    v1::CreateCallerRequest { caller_id: id.to_owned(), caller: Some(caller), request_id: String::new() }
}

/// The same with a change.
fn with(request: v1::CreateCallerRequest, change: impl FnOnce(&mut v1::Caller)) -> v1::CreateCallerRequest {
    let mut request = request;
    change(request.caller.as_mut().unwrap());
    request
}

async fn register(client: &Client, request: v1::CreateCallerRequest) -> v1::Caller {
    client.callers().create_caller(request).await.unwrap().into_inner()
}

async fn update(client: &Client, caller: v1::Caller, paths: &[&str]) -> Result<Response<v1::Caller>, Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = v1::UpdateCallerRequest { caller: Some(caller), update_mask: Some(FieldMask { paths }) };
    client.callers().update_caller(request).await
}

async fn suspend(client: &Client, name: &str) -> Result<Response<v1::SuspendCallerResponse>, Status> {
    let request = v1::SuspendCallerRequest { name: name.to_owned(), reason: "a test".to_owned() };
    client.callers().suspend_caller(request).await
}

async fn resume(client: &Client, name: &str) -> Result<Response<v1::Caller>, Status> {
    let request = v1::ResumeCallerRequest { name: name.to_owned(), reason: "the test goes on".to_owned() };
    client.callers().resume_caller(request).await
}

async fn get(client: &Client, name: &str) -> Result<v1::Caller, Status> {
    let request = v1::GetCallerRequest { name: name.to_owned() };
    Ok(client.callers().get_caller(request).await?.into_inner())
}

async fn list(client: &Client, page_size: i32) -> Vec<v1::Caller> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListCallersRequest { page_size, page_token };
        let page = client.callers().list_callers(request).await.unwrap().into_inner();
        all.extend(page.callers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// Connects by a certificate of this identity.
async fn connect(chancery: &Chancery, id: &str) -> Client {
    chancery.connect(&chancery.issue(Leaf::spiffe(&spiffe(id)), id).unwrap()).await.unwrap()
}

/// What the record says of the acts on a caller, oldest first: action and message.
async fn acts(auditor: &Client, name: &str) -> Vec<(String, String)> {
    let request = v1::ListRecordsRequest {
        kind: v1::RecordKind::Act.into(),
        resource: name.to_owned(),
        oldest_first: true,
        ..v1::ListRecordsRequest::default()
    };
    let message = |record: &v1::AuditRecord| details(record)["message"].as_str().unwrap_or_default().to_owned();
    records(auditor, request).await.iter().map(|record| (record.action.clone(), message(record))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_registered_signs_and_is_on_the_record() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "registered", Algorithm::Ed25519)).await.name;
    let client = connect(&chancery, "shop").await;
    let before = refused(client.signing().sign(sign(&key, b"m")).await);
    assert_eq!((before.code, before.reason.as_deref()), (Code::Unauthenticated, Some("CALLER_NOT_REGISTERED")));

    let request = with(signer("shop"), |caller| {
        caller.identities.push("dns:shop.example".to_owned());
        caller.groups = vec!["till".to_owned()];
        caller.attributes = [("team".to_owned(), "checkout".to_owned())].into();
    });
    let wanted = request.caller.clone().unwrap();
    let made = register(&operator, request).await;
    assert_eq!((made.name.as_str(), made.state()), ("callers/shop", v1::CallerState::Active));
    let expected = v1::Caller {
        name: made.name.clone(),
        identities: vec![spiffe("shop"), "dns:shop.example".to_owned()],
        state: made.state,
        create_time: made.create_time,
        update_time: made.create_time,
        state_change_time: made.create_time,
        etag: made.etag.clone(),
        ..wanted
    };
    assert_eq!(made, expected);
    assert_eq!(get(&operator, &made.name).await.unwrap(), made);
    // On the connection that it was refused on.
    client.signing().sign(sign(&key, b"m")).await.unwrap();
    let said = "environment: dev; identities: dns:shop.example, spiffe://chancery.dev/shop; groups: till; roles: signer; \
                key rings: dev; attributes: team=checkout";
    assert_eq!(acts(&operator, &made.name).await, [("CreateCaller".to_owned(), said.to_owned())]);
}

#[tokio::test]
async fn a_registration_can_be_repeated_and_an_id_is_taken_once() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let request = v1::CreateCallerRequest { request_id: uuid(), ..signer("twice") };
    let first = register(&operator, request.clone()).await;
    assert_eq!(register(&operator, request.clone()).await, first);
    let other = with(request.clone(), |caller| caller.roles.push("verifier".to_owned()));
    assert_refused(operator.callers().create_caller(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let elsewhere = v1::CreateCallerRequest { request_id: request.request_id, ..signer("twice-more") };
    assert_refused(operator.callers().create_caller(elsewhere).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let taken = with(signer("twice"), |caller| caller.identities.clear());
    assert_refused(operator.callers().create_caller(taken).await, Code::AlreadyExists, "CALLER_ALREADY_EXISTS");
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_said_by_field() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    type Change = fn(&mut v1::Caller);
    let cases: [(&str, Change); 6] = [
        ("caller.identities", |caller| caller.identities = vec![spiffe("operator")]),
        ("caller.key_rings", |caller| caller.key_rings.push("keyRings/nowhere".to_owned())),
        // Of another environment: for all that this caller could do there, it is not there.
        ("caller.key_rings", |caller| caller.key_rings.push("keyRings/live".to_owned())),
        ("caller.groups", |caller| caller.groups = (0..65).map(|number| format!("g{number}")).collect()),
        ("caller.attributes", |caller| drop(caller.attributes.insert("Team".to_owned(), String::new()))),
        ("caller.attributes[team]", |caller| drop(caller.attributes.insert("team".to_owned(), "a b".to_owned()))),
    ];
    for (field, change) in cases {
        assert_field(operator.callers().create_caller(with(signer("wrong"), change)).await, field);
    }
    let unknown = |ring: &str| with(signer("wrong"), |caller| caller.key_rings.push(format!("keyRings/{ring}")));
    let said = async |ring: &str| {
        let answer = operator.callers().create_caller(unknown(ring)).await;
        assert_field(answer, "caller.key_rings").replace(ring, "{ring}")
    };
    assert_eq!(said("nowhere").await, said("live").await, "rings of other environments are not told from none");
    assert_refused(get(&operator, "callers/wrong").await, Code::PermissionDenied, "ACCESS_DENIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_from_the_next_call_on_an_open_connection() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "changed", Algorithm::Ed25519)).await.name;
    let made = register(&operator, signer("changing")).await;
    let client = connect(&chancery, "changing").await;
    client.signing().sign(sign(&key, b"m")).await.unwrap();

    let wanted = v1::Caller { roles: vec!["verifier".to_owned()], ..made.clone() };
    let changed = update(&operator, wanted.clone(), &["roles"]).await.unwrap().into_inner();
    assert_eq!((changed.roles.as_slice(), &changed.identities), (&["verifier".to_owned()][..], &made.identities));
    assert_ne!(changed.etag, made.etag);
    assert_refused(client.signing().sign(sign(&key, b"m")).await, Code::PermissionDenied, "ACCESS_DENIED");
    assert_refused(update(&operator, wanted, &["roles"]).await, Code::Aborted, "ETAG_MISMATCH");
    let unchanged = v1::Caller { etag: String::new(), ..changed.clone() };
    assert_eq!(update(&operator, unchanged, &["*"]).await.unwrap().into_inner(), changed, "nothing was to be changed");

    // Without its identity it is nobody, and somebody else may have it.
    let nobody = v1::Caller { identities: Vec::new(), ..changed.clone() };
    let nobody = update(&operator, nobody, &["identities"]).await.unwrap().into_inner();
    assert_refused(client.signing().sign(sign(&key, b"m")).await, Code::Unauthenticated, "CALLER_NOT_REGISTERED");
    register(&operator, with(signer("successor"), |caller| caller.identities = vec![spiffe("changing")])).await;
    client.signing().sign(sign(&key, b"m")).await.unwrap();
    let back = v1::Caller { identities: vec![spiffe("changing")], ..nobody };
    assert_field(update(&operator, back, &["identities"]).await, "caller.identities");

    let said: Vec<String> = acts(&operator, &made.name).await.into_iter().skip(1).map(|(_, said)| said).collect();
    assert_eq!(said, ["roles: -signer, +verifier", "identities: -spiffe://chancery.dev/changing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_caller_is_let_do_nothing_on_open_connections_and_streams() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "stopped", Algorithm::EcdsaP256Sha256)).await.name;
    let name = register(&operator, signer("stopped")).await.name;
    let client = connect(&chancery, "stopped").await;
    let mut stream = SignStream::open(&channel_as(&chancery, "stopped").await).await;
    client.signing().sign(sign(&key, b"m")).await.unwrap();
    stream.sign("before", &key, b"m").await.signed();

    let answer = suspend(&operator, &name).await.unwrap().into_inner();
    assert_eq!(answer.open_intents, Vec::<u64>::new(), "it waited for what was under way");
    let suspended = answer.caller.unwrap();
    assert_eq!(suspended.state(), v1::CallerState::Suspended);
    let again = suspend(&operator, &name).await.unwrap().into_inner().caller.unwrap();
    assert_eq!(again, suspended, "suspending it again changes nothing");
    let refusals = [
        refused(client.signing().sign(sign(&key, b"m")).await),
        refused(client.keys().list_key_rings(v1::ListKeyRingsRequest::default()).await),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::PermissionDenied, Some("CALLER_SUSPENDED")));
    }
    stream.send("after", &key, b"m").await;
    let ended = stream.next().await.unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended}");
    let denials = eventually("the refusals are on the record", async || {
        let request = v1::ListRecordsRequest {
            kind: v1::RecordKind::Denial.into(),
            caller: name.clone(),
            ..v1::ListRecordsRequest::default()
        };
        let found = records(&operator, request).await;
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert!(denials.iter().all(|denial| details(denial)["reason"] == "CALLER_SUSPENDED"), "{denials:?}");

    let resumed = resume(&operator, &name).await.unwrap().into_inner();
    assert_eq!(resumed.state(), v1::CallerState::Active);
    client.signing().sign(sign(&key, b"m")).await.unwrap();
    let said = acts(&operator, &name).await;
    let said: Vec<(&str, &str)> = said.iter().skip(1).map(|(action, said)| (action.as_str(), said.as_str())).collect();
    assert_eq!(said, [("SuspendCaller", "a test"), ("ResumeCaller", "the test goes on")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_that_is_required_and_missing_lets_nobody_in() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let made = register(&operator, signer("factored")).await;
    let client = connect(&chancery, "factored").await;
    client.keys().list_key_rings(v1::ListKeyRingsRequest::default()).await.unwrap();
    let both = vec![AuthenticationFactor::Certificate.into(), AuthenticationFactor::ApiKey.into()];
    update(&operator, v1::Caller { required_factors: both, ..made }, &["required_factors"]).await.unwrap();
    let refusal = refused(client.keys().list_key_rings(v1::ListKeyRingsRequest::default()).await);
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::Unauthenticated, Some("FACTOR_MISSING")));
    assert!(refusal.message.contains("API key"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_themselves_and_nobody_reaches_another_environment() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let live = chancery.connect_as("live-admin").await.unwrap();
    let own = get(&operator, "callers/operator").await.unwrap();
    let more = v1::Caller { roles: vec!["signer".to_owned()], ..own };
    assert_refused(update(&operator, more.clone(), &["roles"]).await, Code::PermissionDenied, "ACCESS_DENIED");
    assert_refused(suspend(&operator, "callers/operator").await, Code::PermissionDenied, "ACCESS_DENIED");
    // The other environment's administrator neither sees nor changes nor makes callers of this one.
    assert_refused(get(&live, "callers/operator").await, Code::PermissionDenied, "ACCESS_DENIED");
    assert_refused(update(&live, more, &["roles"]).await, Code::PermissionDenied, "ACCESS_DENIED");
    assert_refused(live.callers().create_caller(signer("smuggled")).await, Code::PermissionDenied, "ACCESS_DENIED");
    let question = v1::ExplainAuthorizationRequest {
        action: "UpdateCaller".to_owned(),
        resource: "callers/operator".to_owned(),
        ..v1::ExplainAuthorizationRequest::default()
    };
    let by = operator.policy().explain_authorization(question).await.unwrap().into_inner().determining_policies;
    assert_eq!(by[0].policy_id, "builtin-nobody-administers-their-own-registration");

    let names = async |client: &Client| {
        let callers = list(client, 1).await;
        let environments = callers.iter().map(|caller| caller.environment.clone());
        let mut environments: Vec<String> = environments.collect();
        environments.dedup();
        (callers.into_iter().map(|caller| caller.name).collect::<Vec<_>>(), environments)
    };
    let auditor = chancery.connect_as("live-auditor").await.unwrap();
    for client in [&live, &auditor] {
        let (callers, environments) = names(client).await;
        assert_eq!(callers, ["callers/live-admin", "callers/live-auditor"]);
        assert_eq!(environments, ["prod"]);
    }
    let (callers, environments) = names(&operator).await;
    assert!(callers.is_sorted() && callers.contains(&"callers/caller".to_owned()), "{callers:?}");
    assert_eq!(environments, ["dev"]);
    let signing = chancery.caller().await.unwrap();
    let refused = signing.callers().list_callers(v1::ListCallersRequest::default()).await;
    assert_refused(refused, Code::PermissionDenied, "ACCESS_DENIED");
}

/// On a service of its own: what is tried would leave it ungovernable.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_after_which_nobody_could_govern_is_refused() {
    // Only a policy administrator changes one; this one may not apply a policy set himself.
    let governor = CallerSetup::new("governor").role("caller-administrator").role("policy-administrator");
    let only_the_operator = r#"@id("the-governor-applies-nothing")
        forbid (principal == Chancery::Caller::"governor", action == Chancery::Action::"ApplyPolicySet", resource);"#;
    let chancery = setup().with(governor).policy("governor.cedar", only_the_operator).start().await.unwrap();
    let registrar = chancery.connect_as("registrar").await.unwrap();
    assert_refused(suspend(&registrar, "callers/operator").await, Code::PermissionDenied, "ACCESS_DENIED");
    let registrar = chancery.connect_as("governor").await.unwrap();
    let own = get(&registrar, "callers/operator").await.unwrap();
    let lockout = "CALLER_CHANGE_LOCKS_OUT";
    for change in [
        v1::Caller { roles: vec!["caller-administrator".to_owned()], ..own.clone() },
        v1::Caller { identities: Vec::new(), ..own.clone() },
        v1::Caller { required_factors: vec![AuthenticationFactor::ApiKey.into()], ..own.clone() },
    ] {
        let refusal = assert_refused(update(&registrar, change, &["*"]).await, Code::FailedPrecondition, lockout);
        assert!(refusal.message.contains("apply a policy set"), "{refusal}");
    }
    assert_refused(suspend(&registrar, "callers/operator").await, Code::FailedPrecondition, lockout);
    // With another one who governs, it may go.
    let second = with(signer("second"), |caller| {
        caller.roles = vec!["policy-administrator".to_owned()];
        caller.key_rings.clear();
    });
    register(&registrar, second).await;
    suspend(&registrar, "callers/operator").await.unwrap();
    let second = connect(&chancery, "second").await;
    assert!(second.policy().get_policy_set(v1::GetPolicySetRequest {}).await.is_ok());
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_counts_once_and_the_store_from_then_on() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let registered = register(&operator, signer("lasting")).await;
    let caller = get(&operator, "callers/caller").await.unwrap();
    suspend(&operator, &caller.name).await.unwrap();
    chancery
        .configure(|config| {
            let callers = config["caller"].as_array_mut().unwrap();
            callers[1].as_table_mut().unwrap().insert("roles".to_owned(), vec!["auditor".to_owned()].into());
            let mut late = callers[1].as_table().unwrap().clone();
            late.insert("id".to_owned(), "late".into());
            late.insert("identities".to_owned(), vec![spiffe("late")].into());
            callers.push(late.into());
        })
        .unwrap();
    chancery.restart().await.unwrap();

    let operator = chancery.operator().await.unwrap();
    let now: BTreeMap<String, v1::Caller> =
        list(&operator, 0).await.into_iter().map(|caller| (caller.name.clone(), caller)).collect();
    let names: Vec<&str> = now.keys().map(String::as_str).collect();
    assert_eq!(names, ["callers/caller", "callers/lasting", "callers/operator"]);
    assert_eq!(now["callers/lasting"], registered);
    let kept = &now["callers/caller"];
    assert_eq!((kept.state(), &kept.roles), (v1::CallerState::Suspended, &caller.roles));
    let log = chancery.log();
    for (id, said) in [("late", "a caller that is not registered"), ("caller", "this caller otherwise than it is")] {
        let warned = log.lines().any(|line| line.contains(said) && line.contains(&format!("caller={id}")));
        assert!(warned, "{id}: {said}");
    }
    let late = connect(&chancery, "late").await;
    let refused = late.keys().list_key_rings(v1::ListKeyRingsRequest::default()).await;
    assert_refused(refused, Code::Unauthenticated, "CALLER_NOT_REGISTERED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_operator_is_made_by_a_bootstrap_that_refuses_a_second_run() {
    // What a folder of `chancery dev` has, without its callers.
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let _said = succeed(command(chancery()).args(["dev", "--prepare", "--dir"]).arg(&dir));
    let path = dir.join("chancery.toml");
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    config.remove("caller");
    let listener = config["listener"].as_table_mut().unwrap();
    listener.insert("address".to_owned(), "127.0.0.1:0".into());
    config["admin"].as_table_mut().unwrap().insert("address".to_owned(), "127.0.0.1:0".into());
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();

    let serve = || {
        let mut serve = command(chancery());
        serve.args(["serve", "--config"]).arg(&path);
        serve
    };
    let bootstrap = |id: &str| {
        let mut bootstrap = command(chancery());
        bootstrap.args(["bootstrap", id, "--environment", "dev", "--identity", &spiffe(id), "--config"]).arg(&path);
        bootstrap
    };
    let (said, code) = program::run(&mut serve());
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("chancery bootstrap"), "{said}");
    let said = succeed(&mut bootstrap("operator"));
    assert!(
        said.contains("registered callers/operator of environment dev: policy-administrator, caller-administrator")
    );
    for id in ["operator", "another"] {
        let (said, code) = program::run(&mut bootstrap(id));
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("callers are registered already") && said.contains("chancery callers create"), "{said}");
    }
    let mut running = Running::start(&mut serve(), &folder.path().join("log"));
    running.until("it serves", |log| log.contains("the service takes calls").then_some(()));
    let (said, code) = program::run(&mut bootstrap("another"));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("in use"), "{said}");
    drop(running);
}

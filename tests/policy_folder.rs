//! Policy as a team keeps it: a folder of files, tested, compared and applied by the command line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::fs;
use std::path::Path;

use chancery_api::v1;
use chancery_client::model::Algorithm;
use chancery_testkit::{CallerSetup, Chancery};
use chancery_tests::contract::{assert_field, assert_refused, eventually, sign};
use serde_json::{Value, json};
use tonic::Code;

/// A policy that is told apart from those that ship.
const SHOP: &str = r#"// What the shop may do.

@id("shop-signs-by-day")
@description("The shop signs with its own keys, 8:00 to 20:00 UTC.")
permit (principal in Chancery::Group::"shop", action == Chancery::Action::"Sign", resource)
when { resource in principal.rings }
when { context.now.toTime() >= duration("8h") && context.now.toTime() < duration("20h") };
"#;

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn with(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        for said in said {
            assert!(self.out.contains(said) || self.err.contains(said), "{said:?} in {}{}", self.out, self.err);
        }
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

/// Runs `chancery policy` with these words, in a folder.
fn policy(chancery: &Chancery, folder: &Path, words: &[&str]) -> Ended {
    let mut command = chancery.cli();
    ended(command.arg("policy").args(words).current_dir(folder))
}

/// The same where no service can be reached.
fn offline(chancery: &Chancery, folder: &Path, words: &[&str]) -> Ended {
    let mut command = chancery.cli();
    command.env_remove("CHANCERY_DEV");
    ended(command.arg("policy").args(words).current_dir(folder))
}

fn ended(command: &mut std::process::Command) -> Ended {
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// All files of a folder by path, with what they hold.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_change_goes_from_a_folder_into_force() {
    let chancery = Chancery::start().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let (here, folder) = (place.path(), place.path().join("policy"));

    // From nothing, without a service; what is there is not written over.
    let made = offline(&chancery, here, &["init", "policy"]).done();
    assert!(made.contains("chancery policy test policy"), "{made}");
    let first = files(&folder);
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [".gitignore", "README.md", "roles.cedar", "tests/decisions.toml"]);
    offline(&chancery, here, &["init", "policy"]).with(3, &["is there already"]);
    assert_eq!(files(&folder), first);

    // It is a set, is tested, and is what the service has in force.
    let checked = offline(&chancery, here, &["validate", "policy", "--offline", "-o", "json"]).json();
    let in_force = policy(&chancery, here, &["get", "-o", "json"]).json();
    assert_eq!(checked["sha256"], in_force["sha256"]);
    let tested = offline(&chancery, here, &["test", "policy", "--require-coverage", "-o", "json"]).with(0, &[]).json();
    assert_eq!((&tested["failed"], &tested["not_exercised"]), (&json!(0), &json!([])));
    assert!(policy(&chancery, here, &["diff", "policy"]).done().starts_with("no difference"));

    // A document more.
    fs::write(folder.join("shop.cedar"), SHOP).unwrap();
    let valid = policy(&chancery, here, &["validate", "policy"]).done();
    assert!(valid.contains("valid: sha256"), "{valid}");
    offline(&chancery, here, &["test", "policy", "--require-coverage"])
        .with(1, &["0 failed", "not exercised: shop-signs-by-day"]);
    offline(&chancery, here, &["test", "policy"]).with(0, &[]);
    let difference = policy(&chancery, here, &["diff", "policy"])
        .with(1, &["+++ given/shop.cedar", "+@id(\"shop-signs-by-day\")", "+ permit shop-signs-by-day (shop.cedar)"]);
    assert!(difference.out.contains("  + shop.cedar"), "{}", difference.out);
    let difference = policy(&chancery, here, &["diff", "policy", "-o", "json"]).json();
    assert_eq!(difference["policies"][0]["id"], "shop-signs-by-day");
    assert_eq!((&difference["policies"][0]["change"], &difference["same"]), (&json!("ADDED"), &json!(false)));

    // Nobody confirms by accident.
    policy(&chancery, here, &["apply", "policy"]).with(2, &["--yes", "Access:"]);
    assert_eq!(policy(&chancery, here, &["get", "-o", "json"]).json(), in_force);
    let applied = policy(&chancery, here, &["apply", "policy", "--yes", "-o", "json"]);
    assert!(applied.err.contains("+ permit shop-signs-by-day"), "the difference is shown: {}", applied.err);
    assert_eq!(applied.json()["version"], 2);
    assert!(policy(&chancery, here, &["diff", "policy"]).done().starts_with("no difference"));
    // Once more is no second version.
    let again = policy(&chancery, here, &["apply", "policy", "-o", "json"]);
    assert!(again.err.contains("nothing to apply"), "{}", again.err);
    assert_eq!(again.json()["version"], 2);
}

#[tokio::test]
async fn what_is_read_is_what_is_in_force_and_nothing_else_is_touched() {
    let chancery = Chancery::setup().policy("shop.cedar", SHOP).start().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let (here, folder) = (place.path(), place.path().join("policy"));
    policy(&chancery, here, &["get", "--dir", "policy"]).done();
    assert_eq!(fs::read_to_string(folder.join("shop.cedar")).unwrap(), SHOP);
    fs::write(folder.join("NOTES"), "ours").unwrap();
    let before = files(&folder);
    let again = policy(&chancery, here, &["get", "--dir", "policy", "-o", "json"]).json();
    assert_eq!(files(&folder), before, "where nothing changed, git sees no difference");
    assert_eq!(again["folder"]["written"], json!([]));

    // Somebody takes a document out of the set.
    policy(&chancery, here, &["apply", "policy/roles.cedar", "--yes"]).done();
    let got = policy(&chancery, here, &["get", "--dir", "policy"]).done();
    assert!(got.contains("left shop.cedar") && folder.join("shop.cedar").exists(), "{got}");
    let got = policy(&chancery, here, &["get", "--dir", "policy", "--prune"]).done();
    assert!(got.contains("removed shop.cedar") && !folder.join("shop.cedar").exists(), "{got}");
    assert_eq!(fs::read_to_string(folder.join("NOTES")).unwrap(), "ours");
    policy(&chancery, here, &["get", "--prune"]).with(2, &["--dir"]);
}

#[tokio::test]
async fn a_set_that_somebody_else_applied_is_not_overwritten() {
    let chancery = Chancery::start().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    policy(&chancery, here, &["get", "--dir", "mine"]).done();
    policy(&chancery, here, &["get", "--dir", "theirs"]).done();
    policy(&chancery, here, &["get", "--dir", "before"]).done();
    fs::write(here.join("theirs/theirs.cedar"), SHOP.replace("shop-signs", "theirs-sign")).unwrap();
    fs::write(here.join("mine/mine.cedar"), SHOP).unwrap();
    let old = policy(&chancery, here, &["get", "-o", "json"]).json()["etag"].as_str().unwrap().to_owned();
    policy(&chancery, here, &["apply", "theirs", "--yes"]).done();

    let refused = policy(&chancery, here, &["apply", "mine", "--yes"]).with(
        6,
        &["ETAG_MISMATCH", "mine was read from, version 1", "version 2", "callers/operator", "get --dir mine"],
    );
    assert_eq!(refused.out, "");
    policy(&chancery, here, &["apply", "mine/mine.cedar", "mine/roles.cedar", "--yes", "--etag", &old])
        .with(6, &["ETAG_MISMATCH"]);
    policy(&chancery, here, &["apply", "mine", "--yes", "--replaces", "before"]).with(6, &["ETAG_MISMATCH", "before"]);
    let names = |chancery: &Chancery| {
        let set = policy(chancery, here, &["get", "-o", "json"]).json();
        let documents = set["documents"].as_array().unwrap().clone();
        documents.iter().map(|document| document["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&chancery), ["roles.cedar", "theirs.cedar"]);

    // As a build does it, with the documents of the commit before; it has no memory of its own.
    fs::remove_file(here.join("mine/.chancery-policy.toml")).unwrap();
    policy(&chancery, here, &["apply", "mine", "--yes", "--replaces", "theirs"]).done();
    assert_eq!(names(&chancery), ["mine.cedar", "roles.cedar"]);
}

#[tokio::test]
async fn a_set_that_would_be_refused_is_told_before_anything_is_asked() {
    let chancery = Chancery::start().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    policy(&chancery, here, &["get", "--dir", "policy"]).done();
    fs::write(here.join("policy/shop.cedar"), SHOP.replace("principal.rings", "principal.ringz")).unwrap();
    for words in
        [&["validate", "policy"][..], &["validate", "policy", "--offline"], &["test", "policy", "--tests", "t.toml"]]
    {
        fs::write(
            here.join("t.toml"),
            "[[case]]\ncaller = \"a\"\naction = \"Sign\"\nresource = \"a/b\"\nexpect = \"deny\"\n",
        )
        .unwrap();
        policy(&chancery, here, words).with(1, &["shop.cedar:6:", "error in shop-signs-by-day"]);
    }
    policy(&chancery, here, &["apply", "policy"]).with(6, &["POLICY_SET_INVALID", "shop.cedar:6:"]);

    // Only the service can know that nobody could apply another set; the offline check says so.
    fs::write(here.join("policy/shop.cedar"), "").unwrap();
    fs::write(here.join("policy/roles.cedar"), SHOP).unwrap();
    policy(&chancery, here, &["validate", "policy", "--offline"]).with(0, &["not checked: whether"]);
    policy(&chancery, here, &["validate", "policy"]).with(1, &["no registered caller could apply another policy set"]);
    policy(&chancery, here, &["apply", "policy", "--yes"]).with(6, &["no registered caller could apply"]);

    policy(&chancery, here, &["validate", "nothing-here"]).with(3, &["nothing-here"]);
    fs::create_dir(here.join("empty")).unwrap();
    policy(&chancery, here, &["apply", "empty", "--yes"]).with(3, &["holds no policy documents"]);
    policy(&chancery, here, &["test", "empty"]).with(3, &["holds no policy documents"]);
}

/// Expected decisions about callers and keys that only the file knows.
const CASES: &str = r#"
environment = "prod"

[callers.shop]
groups = ["shop"]
key_rings = ["payments"]

[keys."payments/jwt"]
algorithm = "ED25519"

[[case]]
name = "the shop signs by day"
caller = "shop"
action = "Sign"
resource = "payments/jwt"
expect = "allow"
policies = ["shop-signs-by-day"]

[[case]]
name = "the shop sleeps at night"
caller = "shop"
action = ["Sign", "SignJwt"]
resource = "payments/jwt"
context = { time = "2026-03-01T23:30:00Z" }
expect = "deny"
"#;

#[tokio::test]
async fn expected_decisions_are_checked_and_what_fails_is_named_with_the_reason() {
    let chancery = Chancery::start().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    fs::write(here.join("shop.cedar"), SHOP).unwrap();
    fs::write(here.join("cases.toml"), CASES).unwrap();
    let test = ["test", "shop.cedar", "--tests", "cases.toml"];
    offline(&chancery, here, &test).with(0, &["3 passed, 0 failed; 1 of 1 policies exercised"]);

    fs::write(here.join("cases.toml"), CASES.replace("\"2026-03-01T23:30:00Z\"", "\"2026-03-01T12:00:00Z\"")).unwrap();
    offline(&chancery, here, &test).with(
        1,
        &[
            "FAIL  the shop sleeps at night (shop Sign on payments/jwt): expected deny, decided allow",
            "shop-signs-by-day",
            "in cases.toml",
        ],
    );
    fs::write(here.join("cases.toml"), CASES.replace("[\"shop-signs-by-day\"]", "[\"another\"]")).unwrap();
    let report = offline(&chancery, here, &[&test[..], &["-o", "json"]].concat()).with(1, &[]).json();
    let case = &report["cases"][0];
    assert_eq!((&case["passed"], &case["policies"]), (&json!(false), &json!(["shop-signs-by-day"])));
    fs::write(here.join("cases.toml"), CASES.replace("expect", "expects")).unwrap();
    offline(&chancery, here, &test).with(3, &["cases.toml", "expects"]);
    offline(&chancery, here, &["test", "shop.cedar"]).with(2, &["--tests"]);
}

/// Expected decisions about callers and keys of the service.
const ONLINE: &str = r#"
[[case]]
caller = "web"
action = "Sign"
resource = "dev/k"
expect = "allow"
policies = ["shop-signs-by-day"]

[[case]]
caller = "web"
action = "Sign"
resource = "dev/k"
context = { time = "2026-03-01T23:30:00Z", source_address = "10.0.0.1", input_bytes = 9, batch_size = 2 }
expect = "deny"

[[case]]
caller = "caller"
action = "Sign"
resource = "dev/k"
context = { version = 1 }
expect = "allow"
policies = ["signer"]

[[case]]
caller = "operator"
action = "ApplyPolicySet"
expect = "allow"

[[case]]
caller = "registrar"
action = "CreateCaller"
context = { registration = { groups = ["till"], roles = ["signer"], key_rings = ["dev"] } }
expect = "allow"

[[case]]
caller = "registrar"
action = "CreateCaller"
context = { registration = { environment = "prod" } }
expect = "deny"

[[case]]
caller = "registrar"
action = "UpdateCaller"
resource = "callers/web"
context = { registration = { roles = ["policy-administrator"] } }
expect = "deny"
policies = ["policy-administrators-are-made-by-their-like"]

[[case]]
caller = "registrar"
action = "IssueApiKey"
resource = "callers/web"
context = { lifetime = "7d" }
expect = "allow"

[[case]]
caller = "registrar"
action = "IssueApiKey"
resource = "callers/web"
context = { lifetime = "8d" }
expect = "deny"
policies = ["short-keys"]

[[case]]
caller = "registrar"
action = "RotateApiKey"
resource = "callers/web"
expect = "deny"
policies = ["short-keys"]
"#;

/// API keys are of use for a week at most.
const SHORT_KEYS: &str = r#"
@id("short-keys")
forbid (
  principal,
  action in [Chancery::Action::"IssueApiKey", Chancery::Action::"RotateApiKey"],
  resource
)
when { context.lifetime > duration("7d") };
"#;

#[tokio::test]
async fn expected_decisions_are_asked_of_the_service_before_the_set_is_in_force() {
    let registrar = CallerSetup::new("registrar").role("caller-administrator");
    let setup = Chancery::setup().with(CallerSetup::new("web").group("shop").ring("dev")).with(registrar);
    let chancery = setup.start().await.unwrap();
    let _key = chancery.create_key("k", Algorithm::Ed25519).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    policy(&chancery, here, &["get", "--dir", "policy"]).done();
    fs::write(here.join("policy/shop.cedar"), SHOP).unwrap();
    fs::write(here.join("policy/short-keys.cedar"), SHORT_KEYS).unwrap();
    fs::write(here.join("online.toml"), ONLINE).unwrap();
    let test = ["test", "policy", "--online", "--tests", "online.toml"];
    policy(&chancery, here, &test).with(0, &["10 passed, 0 failed"]);
    offline(&chancery, here, &["test", "policy", "--tests", "online.toml"]).with(3, &["[callers.web]", "--online"]);
    fs::write(here.join("online.toml"), ONLINE.replace("\"web\"", "\"nobody\"")).unwrap();
    policy(&chancery, here, &test).with(6, &["online.toml: case \"nobody Sign on dev/k\"", "callers/nobody"]);

    // Nothing is in force of all this, and one call is explained under the set likewise.
    let explain =
        ["explain", "--caller", "web", "--action", "Sign", "--resource", "dev/k", "--time", "2026-03-01T12:00:00Z"];
    policy(&chancery, here, &explain).with(1, &["denied"]);
    policy(&chancery, here, &[&explain[..], &["--policy", "policy"]].concat()).with(0, &["shop-signs-by-day"]);
    let night = explain.map(|word| if word.contains("T12:") { "2026-03-01T23:00:00Z" } else { word });
    policy(&chancery, here, &[&night[..], &["--policy", "policy"]].concat()).with(1, &["denied"]);
}

#[tokio::test]
async fn a_folder_begins_with_the_set_in_force_and_tests_that_describe_it() {
    let setup = Chancery::setup()
        .policy("stop.cedar", "@id(\"stop\")\nforbid (principal, action == Chancery::Action::\"Sign\", resource);\n");
    let chancery = setup.start().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    policy(&chancery, here, &["init", "policy", "--in-force"]).done();
    assert!(policy(&chancery, here, &["diff", "policy"]).done().starts_with("no difference"));
    offline(&chancery, here, &["test", "policy"]).with(0, &["0 failed"]);
    let tests = fs::read_to_string(here.join("policy/tests/decisions.toml")).unwrap();
    assert!(tests.contains("policies = [\"stop\"]"), "{tests}");
}

#[tokio::test]
async fn access_is_reviewed_and_a_change_says_whose_access_it_changes() {
    let setup = Chancery::setup().with(CallerSetup::new("web").group("shop").ring("dev"));
    let chancery = setup.start().await.unwrap();
    let _key = chancery.create_key("k", Algorithm::Ed25519).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let table = policy(&chancery, here, &["access", "--resource", "dev/k", "--action", "Sign"]).done();
    assert!(table.lines().nth(1).unwrap().starts_with("caller  dev/k     ALLOWED"), "{table}");
    assert!(!table.contains("web"), "what is denied is not listed: {table}");
    let denied =
        policy(&chancery, here, &["access", "--resource", "dev/k", "--action", "Sign", "--denied", "-o", "json"]);
    let rows = denied.json()["access"].as_array().unwrap().clone();
    let access: Vec<_> =
        rows.iter().map(|row| (row["caller"].as_str().unwrap(), row["access"].as_str().unwrap())).collect();
    assert_eq!(access, [("callers/caller", "ALLOWED"), ("callers/operator", "DENIED"), ("callers/web", "DENIED")]);

    policy(&chancery, here, &["get", "--dir", "policy"]).done();
    fs::write(here.join("policy/shop.cedar"), SHOP).unwrap();
    let proposed = policy(&chancery, here, &["access", "--caller", "web", "--policy", "policy"]).done();
    assert!(proposed.contains("CONDITIONAL  Sign"), "{proposed}");
    assert!(
        proposed.contains("[1] permit shop-signs-by-day when { context.now.toTime() >= duration(\"8h\") }"),
        "{proposed}"
    );
    policy(&chancery, here, &["diff", "policy", "--access"])
        .with(1, &["web", "dev/k", "Sign", "DENIED", "CONDITIONAL: permit shop-signs-by-day"]);
    let changes = policy(&chancery, here, &["diff", "policy", "--access", "-o", "json"]).json();
    let changes = changes["access"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((&changes[0]["caller"], &changes[0]["before"]), (&json!("callers/web"), &json!("DENIED")));

    let callers = policy(&chancery, here, &["access", "--resource", "callers", "-o", "json"]).json();
    let rows = callers["access"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["action"] == "ListCallers"), "{rows:?}");
    assert!(rows.iter().all(|row| row["resource"] == "callers"), "{rows:?}");
    policy(&chancery, here, &["access", "--resource", "keyRings/callers"]).with(6, &["keyRings/callers"]);
    policy(&chancery, here, &["access", "--resource", "dev/nothing"]).with(6, &["keyRings/dev/keys/nothing"]);
    policy(&chancery, here, &["access", "--as", "caller"]).with(5, &["ACCESS_DENIED"]);
    policy(&chancery, here, &["access", "--resource", "dev/k/1"]).with(2, &["not of a version"]);
}

#[tokio::test]
async fn recorded_calls_are_decided_again_before_a_change_is_applied() {
    let chancery = Chancery::start().await.unwrap();
    let key = chancery.create_key("k", Algorithm::Ed25519).await.unwrap().to_string();
    let (caller, operator) = (chancery.caller().await.unwrap(), chancery.operator().await.unwrap());
    for bytes in [&b"one"[..], b"two"] {
        caller.signing().sign(sign(&key, bytes)).await.unwrap();
    }
    assert_refused(operator.signing().sign(sign(&key, b"m")).await, Code::PermissionDenied, "ACCESS_DENIED");
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    policy(&chancery, here, &["get", "--dir", "policy"]).done();
    let replay = ["replay", "policy", "-o", "json"];
    // Denials reach the record a little later.
    let same = eventually("the denial is on the record", async || {
        let same = policy(&chancery, here, &replay).with(0, &[]).json();
        (same["replayed"].as_u64().unwrap() >= 4).then_some(same)
    });
    assert_eq!(same.await["changes"], json!([]), "under the same set, every decision is the same");

    let stop = r#"@id("messages-are-long") forbid (principal, action == Chancery::Action::"Sign", resource) when { context.inputBytes < 9 };"#;
    fs::write(here.join("policy/stop.cedar"), stop).unwrap();
    let table =
        policy(&chancery, here, &["replay", "policy"]).with(1, &["allow -> deny", "dev/k/1", "messages-are-long"]);
    assert!(table.out.contains("2 would be others"), "{}", table.out);
    let replayed = policy(&chancery, here, &replay).with(1, &[]).json();
    let change = &replayed["changes"][0];
    assert_eq!((&change["caller"], &change["action"]), (&json!("callers/caller"), &json!("Sign")));
    assert_eq!((&change["before"], &change["after"]), (&json!("allow"), &json!("deny")));
    let newest =
        policy(&chancery, here, &[&replay[..], &["--action", "Sign", "--caller", "caller", "--limit", "1"]].concat());
    assert_eq!(newest.json()["more"], true);
    policy(&chancery, here, &[&replay[..], &["--until", "2020-01-01T00:00:00Z"]].concat()).with(0, &[]);
    policy(&chancery, here, &["replay", "policy", "--as", "caller"]).with(5, &["ACCESS_DENIED"]);
    // The call itself: in pages, and only of a whole set.
    let documents = vec![v1::PolicyDocument { name: "stop.cedar".to_owned(), text: stop.to_owned() }];
    let mut request = v1::ReplayPolicySetRequest { documents, page_size: 2, ..v1::ReplayPolicySetRequest::default() };
    let (mut pages, mut changed) = (0, Vec::new());
    loop {
        let page = operator.policy().replay_policy_set(request.clone()).await.unwrap().into_inner();
        (pages, request.page_token) = (pages + 1, page.next_page_token);
        changed.extend(page.changes);
        if request.page_token.is_empty() {
            break;
        }
    }
    assert!(pages > 2, "{pages}");
    assert!(changed.is_sorted_by(|one, next| one.record_index > next.record_index), "newest first, and none twice");
    // Under a set that permits nothing, all that was allowed would be denied.
    assert!(changed.iter().all(|change| change.was_allowed && !change.reason.is_empty()));
    assert!(changed.iter().filter(|change| change.action == "Sign").count() == 2);
    let other = v1::ReplayPolicySetRequest { page_token: "00".to_owned(), ..request.clone() };
    assert_field(operator.policy().replay_policy_set(other).await, "page_token");
    let none = v1::ReplayPolicySetRequest { documents: Vec::new(), ..request.clone() };
    assert_field(operator.policy().replay_policy_set(none).await, "documents");
    request.documents[0].text = "permit".to_owned();
    let refused = operator.policy().replay_policy_set(request).await;
    assert_refused(refused, Code::InvalidArgument, "POLICY_SET_INVALID");
    fs::write(here.join("policy/stop.cedar"), "forbid").unwrap();
    policy(&chancery, here, &["replay", "policy"]).with(1, &["stop.cedar:1:"]);
}

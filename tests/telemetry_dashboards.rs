//! The dashboard, the alerts and the documentation name metrics and labels that exist: each name is held against a page
//! that a service under some load really showed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chancery_api::v1::{self, Algorithm};
use chancery_oidc::JwsAlgorithm;
use chancery_testkit::{Chancery, Crl, Leaf};
use chancery_tests::contract::{create, eventually, new_key, refused, sign};
use chancery_tests::issuer_keys::{Signer, jwks};
use chancery_tests::metrics_page::Page;
use chancery_tests::promql::Names;
use chancery_tests::web::{self, Web};
use serde_json::Value;
use tokio::net::TcpStream;
use yaml_rust2::{Yaml, YamlLoader};

fn file(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A service to which everything has happened that is counted, and its page.
async fn page() -> Page {
    let folder = tempfile::tempdir().unwrap();
    let jwks_file = folder.path().join("jwks.json");
    std::fs::write(&jwks_file, jwks(&[&Signer::new(JwsAlgorithm::Es256, "k")])).unwrap();
    let issuer = format!(
        "issuer = \"https://issuer.example\"\naudiences = [\"https://chancery.example\"]\njwks_file = \"{}\"",
        jwks_file.display()
    );
    let issuer: toml::Table = issuer.parse().unwrap();
    let setup = Chancery::setup().crl(Crl::new()).configure(|config| {
        config["listener"].as_table_mut().unwrap().insert("oidc".to_owned(), vec![issuer].into());
        config.insert("retention".to_owned(), toml::toml! { refusal_details_days = 1 }.into());
        // Nobody is there.
        let witness = toml::toml! {
            key = "witness.example/w1+df1c0a35+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU"
            url = "http://127.0.0.1:1"
        };
        let mut log = toml::Table::new();
        log.insert("witness".to_owned(), vec![witness].into());
        let archive = toml::toml! {
            dir = "archive"
            after_days = 1
        };
        log.insert("archive".to_owned(), archive.into());
        config.insert("log".to_owned(), log.into());
    });
    let chancery = setup.start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "shown", Algorithm::EcdsaP256Sha256)).await.name;
    // A key whose rule is due at once.
    let mut ruled = new_key("keyRings/dev", "ruled", Algorithm::EcdsaP256Sha256);
    let rules = ruled.key.as_mut().unwrap();
    rules.rotation_period = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
    rules.next_rotation_time = Some(std::time::SystemTime::now().into());
    create(&operator, ruled).await;
    for _ in 0..3 {
        caller.signing().sign(sign(&key, b"m")).await.unwrap();
    }
    refused(caller.signing().sign(sign("keyRings/dev/keys/none", b"m")).await);
    refused(operator.signing().sign(sign(&key, b"m")).await);
    let stranger = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/unheard-of"), "unheard-of").unwrap();
    let stranger = chancery.connect(&stranger).await.unwrap();
    refused(stranger.policy().get_policy_set(v1::GetPolicySetRequest {}).await);
    let web = Web::new(&chancery, &web::caller(&chancery), &["h2"]);
    assert_eq!(web.get("/.well-known/jwks.json?name=keyRings/dev").await.status, 200);
    // A connection that is no TLS, a certificate that is looked at again, and a worker that dies over a signature.
    let address = chancery.endpoint().strip_prefix("https://").unwrap().to_owned();
    drop(TcpStream::connect(&address).await.unwrap());
    chancery_testkit::signal(chancery.pid(), "HUP").unwrap();
    // The key that is due is made by then: a token that is killed while it makes one may be no token any more.
    eventually("the schedule has done its work", async || {
        let (_, page) = Page::fetch(&chancery, "text/plain").await;
        page.names().contains("chancery_key_rules_total").then_some(())
    })
    .await;
    fail_in_the_token(&chancery, &operator, &caller, &key).await;
    let page = eventually("a sample of everything", async || {
        let (_, page) = Page::fetch(&chancery, "text/plain").await;
        let all = [
            "chancery_connections_refused_total",
            "chancery_key_rules_total",
            "chancery_log_counted_checkpoint_age_seconds",
            "chancery_oidc_keys_age_seconds",
            "chancery_record_archive_total",
            "chancery_record_retention_total",
            "chancery_tls_reloads_total",
            "chancery_token_failures_total",
        ];
        all.iter().all(|name| page.names().contains(name)).then_some(page)
    })
    .await;
    chancery.stop().await.unwrap();
    page
}

/// Takes the token away in the middle of signatures until one has failed in it.
async fn fail_in_the_token(
    chancery: &Chancery,
    operator: &chancery_client::Client,
    caller: &chancery_client::Client,
    key: &str,
) {
    let request = v1::GetTokenRequest { name: "tokens/main".to_owned() };
    let worker = operator.tokens().get_token(request).await.unwrap().into_inner().worker_pid;
    let (there, away) = (chancery.dir().join("softhsm/tokens"), chancery.dir().join("softhsm/away"));
    std::fs::rename(&there, &away).unwrap();
    chancery_testkit::signal(worker, "KILL").unwrap();
    eventually("a failed signature", async || caller.signing().sign(sign(key, b"m")).await.err()).await;
    std::fs::rename(&away, &there).unwrap();
    eventually("a signature again", async || caller.signing().sign(sign(key, b"m")).await.ok()).await;
}

/// Labels that Prometheus itself adds to what it fetches.
const ADDED: [&str; 2] = ["job", "instance"];

/// Checks that every name of a query exists. `made` are the metrics that rules record, with their labels.
fn check(query: &str, page: &Page, made: &BTreeMap<String, BTreeSet<String>>) {
    let Names { selectors, grouping } = Names::of(query);
    let mut labels: BTreeSet<String> = ADDED.iter().map(ToString::to_string).collect();
    assert!(!selectors.is_empty(), "asks for nothing: {query}");
    for (name, selected) in selectors {
        let mut own: BTreeSet<String> = ADDED.iter().map(ToString::to_string).collect();
        match made.get(&name) {
            Some(recorded) => own.extend(recorded.iter().cloned()),
            // Prometheus' own: whether a target answers.
            None if name == "up" => {}
            None => {
                assert!(
                    page.names().contains(name.as_str()),
                    "no metric {name}, in: {query}\nthere are {:?}",
                    page.names()
                );
                own.extend(page.labels(&name).iter().map(ToString::to_string));
            }
        }
        for label in selected {
            // Of a matcher, its name; values are strings, and not among the words.
            assert!(own.contains(&label), "{name} has no label {label}, in: {query}\nit has {own:?}");
        }
        labels.extend(own);
    }
    for label in grouping {
        assert!(labels.contains(&label), "no metric of the query has the label {label}: {query}");
    }
}

/// All strings under a name, anywhere in a JSON document.
fn all_under<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                match value {
                    Value::String(text) if field == name => found.push(text),
                    value => all_under(value, name, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all_under(item, name, found)),
        _ => {}
    }
}

/// What stands in `{{ }}` and is a label, in texts of alerts and legends.
fn labels_in_text(text: &str) -> Vec<String> {
    let inside = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(inside, _)| inside.trim());
    inside
        .filter_map(|inside| match inside.strip_prefix("$labels.") {
            Some(label) => Some(label.to_owned()),
            None if inside.starts_with('$') => None,
            None => Some(inside.to_owned()),
        })
        .collect()
}

fn check_dashboard(page: &Page) {
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana/dashboards/chancery.json")).unwrap();
    let none = BTreeMap::new();
    let mut queries = Vec::new();
    all_under(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 40, "{}", queries.len());
    for query in &queries {
        check(query, page, &none);
    }
    let mut variables = Vec::new();
    all_under(&dashboard["templating"], "query", &mut variables);
    let variables: Vec<_> = variables.into_iter().filter(|query| query.starts_with("label_values")).collect();
    assert_eq!(variables.len(), 4);
    for variable in variables {
        // label_values(selector, label): a label is read as a metric there, so it is taken off.
        let (selector, label) = variable.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
        check(selector, page, &none);
        let name = selector.split('{').next().unwrap();
        let label = label.strip_suffix(')').unwrap();
        assert!(page.labels(name).contains(label) || ADDED.contains(&label), "{variable}");
    }
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
            let (query, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
            let Names { selectors, grouping } = Names::of(query);
            for label in labels_in_text(legend) {
                let of_metric = selectors.iter().any(|(name, _)| page.labels(name).contains(label.as_str()));
                let kept = grouping.contains(&label) || (grouping.is_empty() && of_metric) || ADDED.contains(&&*label);
                assert!(kept, "the legend {legend} names {label}, which is not in the result of {query}");
            }
        }
    }
    // Datasources are those that are provisioned.
    let mut datasources = Vec::new();
    all_under(&dashboard, "uid", &mut datasources);
    let provisioned = file("deploy/grafana/provisioning/datasources/chancery.yaml");
    for uid in datasources.into_iter().filter(|uid| *uid != "chancery") {
        assert!(provisioned.contains(&format!("uid: {uid}\n")), "{uid}");
    }
}

fn check_alerts(page: &Page) {
    let rules = YamlLoader::load_from_str(&file("deploy/prometheus/alerts.yml")).unwrap();
    let rules: Vec<&Yaml> =
        rules[0]["groups"].as_vec().unwrap().iter().flat_map(|group| group["rules"].as_vec().unwrap()).collect();
    let text =
        |rule: &Yaml, field: &str| rule[field].as_str().unwrap_or_else(|| panic!("{field}: {rule:?}")).to_owned();
    let mut made = BTreeMap::new();
    let mut alerts = BTreeSet::new();
    for rule in rules {
        let query = text(rule, "expr");
        check(&query, page, &made);
        if rule["record"].as_str().is_some() {
            let first = made.insert(text(rule, "record"), Names::of(&query).grouping);
            assert_eq!(first, None);
            continue;
        }
        let name = text(rule, "alert");
        assert!(["page", "ticket"].contains(&text(&rule["labels"], "severity").as_str()), "{name}");
        let Names { selectors, grouping } = Names::of(&query);
        for field in ["summary", "description"] {
            let words = text(&rule["annotations"], field);
            for label in labels_in_text(&words) {
                let known = grouping.contains(&label)
                    || ADDED.contains(&label.as_str())
                    || selectors.iter().any(|(metric, _)| {
                        page.labels(metric).contains(label.as_str())
                            || made.get(metric).is_some_and(|labels| labels.contains(&label))
                    });
                assert!(known, "{name} speaks of {label}, which its query does not have");
            }
        }
        assert!(alerts.insert(name.clone()), "{name} twice");
    }
    assert!(alerts.len() >= 20, "{alerts:?}");
}

/// The table of metrics in docs/telemetry.md: name, kind, attributes.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = file("docs/telemetry.md");
    let table = text.split_once("## Metrics\n").unwrap().1.split_once("\n## ").unwrap().0;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, attributes, _meaning] = cells.as_slice() else { panic!("four columns: {row}") };
        let attributes = attributes.split(", ").filter(|attribute| !attribute.is_empty());
        let attributes = attributes.map(|attribute| attribute.trim_matches('`').replace('.', "_")).collect();
        (name.trim_matches('`').to_owned(), (kind.to_string(), attributes))
    })
    .collect()
}

fn check_documentation(page: &Page) {
    let documented = documented();
    let shown: BTreeSet<&str> =
        page.types.keys().map(String::as_str).filter(|family| *family != "target_info").collect();
    let named: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    assert_eq!(named, shown, "docs/telemetry.md, and what is shown");
    for (family, (kind, attributes)) in &documented {
        assert_eq!(&page.types[family], kind, "{family}");
        let samples = page.names().into_iter().filter(|sample| page.family(sample) == Some(family));
        let labels: BTreeSet<String> =
            samples.flat_map(|sample| page.labels(sample)).filter(|label| *label != "le").map(str::to_owned).collect();
        assert_eq!(attributes, &labels, "{family}");
        assert!(!page.help[family].is_empty(), "{family}");
    }
}

#[tokio::test]
async fn dashboard_alerts_and_documentation_name_what_there_is() {
    let page = page().await;
    check_dashboard(&page);
    check_alerts(&page);
    check_documentation(&page);
}

#[test]
fn names_are_found_in_queries() {
    let query = r#"histogram_quantile(0.9, sum by (le, a) (rate(x_bucket{b=~"c{d}", e!="f"}[5m] offset 1h))) > 5 * y:z / vector(2)"#;
    let Names { selectors, grouping } = Names::of(query);
    let labels = |labels: &[&str]| labels.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(selectors, [("x_bucket".to_owned(), labels(&["b", "e"])), ("y:z".to_owned(), labels(&[]))]);
    assert_eq!(grouping, labels(&["a", "le"]));
}

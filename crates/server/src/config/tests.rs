//! The shape that the documents promise, and each way to get it wrong.

mod log;
mod oidc;

use super::*;
use crate::test_authority::{TestAuthority, client, dns};
use chancery_hsm::PinSource;
use chancery_model::{Identity, Role};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

/// The example of docs/configuration.md: what it says is what is parsed.
const EXAMPLE: &str = include_str!("../../../../docs/configuration.md");

fn example() -> String {
    let (_, rest) = EXAMPLE.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A folder in which the example can be used: every file that it names is there.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for path in ["policy/roles.cedar", "pin", "module.so"] {
            folder.write(path, "content");
        }
        let authority = TestAuthority::new("authority");
        folder.write("tls/ca.pem", &authority.certificate.pem());
        folder.revoke(&authority, Duration::from_secs(48 * 3600));
        folder.certify(&authority, Duration::from_secs(3600));
        folder
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }

    /// Gives the authority a CRL with this much time left.
    fn revoke(&self, authority: &TestAuthority, left: Duration) {
        let until = SystemTime::now() + left;
        self.write("tls/ca.crl", &authority.crl(&[], until - Duration::from_secs(72 * 3600), until).pem().unwrap());
    }

    /// Gives the service a certificate with this much of an hour's life left.
    fn certify(&self, authority: &TestAuthority, left: Duration) {
        let mut params = client(&[dns("localhost")]);
        let until = SystemTime::now() + left;
        (params.not_before, params.not_after) = ((until - Duration::from_secs(3660)).into(), until.into());
        let server = authority.issue(&params);
        self.write("tls/server.pem", &server.certificate.pem());
        self.write("tls/server.key", &server.key.serialize_pem());
    }

    fn load(&self, text: &str) -> Result<Config, ConfigErrors> {
        self.write("chancery.toml", text);
        load(&self.0.path().join("chancery.toml"))
    }

    /// What `check` says of the example with one text replaced by another.
    fn findings(&self, from: &str, to: &str) -> Vec<(Severity, String, String)> {
        let text = usable_example();
        assert!(text.contains(from), "{from}");
        check(&self.load(&text.replace(from, to)).unwrap())
            .into_iter()
            .map(|Finding { severity, field, message }| (severity, field, message))
            .collect()
    }

    fn only_finding(&self, from: &str, to: &str) -> (Severity, String, String) {
        let mut findings = self.findings(from, to);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }
}

/// What is found, wherever the tests' temporary folder lies: it may well be in memory.
fn check(config: &Config) -> Vec<Finding> {
    let lies_in_memory =
        |finding: &Finding| finding.message.contains("tmpfs") || finding.message.contains("is in memory");
    config.check().into_iter().filter(|finding| !lies_in_memory(finding)).collect()
}

fn usable_example() -> String {
    example().replace("/usr/lib/softhsm/libsofthsm2.so", "module.so")
}

#[test]
fn the_documented_example_is_what_is_parsed() {
    let folder = Folder::new();
    let config = folder.load(&usable_example()).unwrap();
    assert_eq!(check(&config), []);
    assert_eq!(config.instance.as_str(), "main");
    assert_eq!(config.listener.client_auth, ClientAuth::Required);
    assert_eq!(config.listener.client_cas[0].identity, IdentityKind::Spiffe);
    assert_eq!(config.admin.as_ref().unwrap().address.to_string(), "127.0.0.1:9443");
    assert_eq!(config.tokens[0].environment.0["SOFTHSM2_CONF"], "softhsm2.conf");
    let caller = &config.callers[0];
    assert_eq!(caller.identities, [Identity::spiffe_id("spiffe://chancery.dev/checkout").unwrap()].into());
    assert_eq!(caller.roles, [Role::Signer].into());
    assert_eq!(config.telemetry.otlp_endpoint.as_deref(), Some("http://127.0.0.1:4317"));
}

#[test]
fn paths_are_relative_to_the_file() {
    let folder = Folder::new();
    let config = folder.load(&example()).unwrap();
    let at = |path: &str| folder.0.path().join(path);
    assert_eq!(config.listener.private_key, at("tls/server.key"));
    assert_eq!(config.listener.client_cas[0].certificate, at("tls/ca.pem"));
    assert_eq!(config.policy.first, [at("policy/roles.cedar")]);
    assert_eq!((config.store.path, config.hsm.lock_dir), (at("chancery.db"), at("locks")));
    assert_eq!(config.tokens[0].pin, PinSource::File(at("pin")));
    assert_eq!(config.tokens[0].module, Path::new("/usr/lib/softhsm/libsofthsm2.so"), "absolute ones stay");
}

#[test]
fn every_limit_is_documented_with_its_default() {
    let limits = Limits::default();
    let documented = |field: &str| {
        let row = EXAMPLE.lines().find(|line| line.starts_with(&format!("| `{field}` |")));
        let row = row.unwrap_or_else(|| panic!("{field} is not documented"));
        row.split('|').nth(2).unwrap().trim().to_owned()
    };
    let seconds = |duration: Duration| duration.as_secs().to_string();
    for (field, default) in [
        ("max_connections", limits.max_connections.to_string()),
        ("max_handshakes", limits.max_handshakes.to_string()),
        ("max_connections_per_address", limits.max_connections_per_address.to_string()),
        ("max_handshakes_per_address", limits.max_handshakes_per_address.to_string()),
        ("handshake_timeout_seconds", seconds(limits.handshake_timeout)),
        ("unused_timeout_seconds", seconds(limits.unused_timeout)),
        ("max_concurrent_streams", limits.max_concurrent_streams.to_string()),
        ("max_header_list_bytes", limits.max_header_list_bytes.to_string()),
        ("max_request_bytes", limits.max_request_bytes.to_string()),
        ("max_response_bytes", limits.max_response_bytes.to_string()),
        ("keepalive_interval_seconds", seconds(limits.keepalive_interval)),
        ("keepalive_timeout_seconds", seconds(limits.keepalive_timeout)),
        ("initial_stream_window_bytes", limits.initial_stream_window_bytes.to_string()),
        ("initial_connection_window_bytes", limits.initial_connection_window_bytes.to_string()),
        ("max_connection_age_seconds", "none".to_owned()),
        ("default_deadline_seconds", seconds(limits.default_deadline)),
        ("max_deadline_seconds", seconds(limits.max_deadline)),
        ("max_in_flight", limits.max_in_flight.to_string()),
        ("max_in_flight_per_caller", limits.max_in_flight_per_caller.to_string()),
        ("max_streams_per_caller", limits.max_streams_per_caller.to_string()),
        ("shutdown_grace_seconds", seconds(limits.shutdown_grace)),
    ] {
        assert_eq!(documented(field), default, "{field}");
    }
}

#[test]
fn how_fast_callers_go_is_said_and_makes_sense() {
    let folder = Folder::new();
    let rate = |config: Config| config.limits.rate();
    let documented = rate(folder.load(&example()).unwrap());
    assert_eq!(documented, Some(chancery_model::Rate { per_second: 500, burst: 1000 }));
    let without = example().replace("caller_burst = 1000\n", "");
    assert_eq!(rate(folder.load(&without).unwrap()).map(|rate| rate.burst), Some(500));
    assert_eq!(rate(folder.load(&without.replace("caller_uses_per_second = 500\n", "")).unwrap()), None);
    for (from, to, field) in [
        ("caller_uses_per_second = 500\n", "", "limits.caller_burst"),
        ("caller_burst = 1000", "caller_burst = 1000001", "limits.caller_burst"),
        ("_second = 500", "_second = 1000001", "limits.caller_uses_per_second"),
    ] {
        let (severity, found, _) = folder.only_finding(from, to);
        assert_eq!((severity, found.as_str()), (Severity::Error, field));
    }
}

#[test]
fn the_log_is_named_after_the_instance_unless_it_has_a_name() {
    let folder = Folder::new();
    let settings = |text: &str| {
        let config = folder.load(text).unwrap();
        config.log.settings(&config.instance)
    };
    let documented = settings(&example());
    assert_eq!((documented.origin.as_str(), documented.interval), ("log.example.com/chancery", Duration::from_secs(1)));
    let section = "[log]\norigin = \"log.example.com/chancery\"\ncheckpoint_interval_seconds = 1\n";
    assert!(example().contains(section));
    let absent = settings(&example().replace(section, ""));
    assert_eq!(absent.origin.as_str(), folder.load(&example()).unwrap().instance.as_str());
    assert_eq!(absent.interval, documented.interval);
}

#[test]
fn details_are_kept_for_ever_unless_it_is_said_for_how_long() {
    let folder = Folder::new();
    let retention = |text: &str| folder.load(text).unwrap().retention.settings();
    let documented = retention(&example());
    let days = |days: Option<std::num::NonZeroU16>| days.map(std::num::NonZeroU16::get);
    assert_eq!((days(documented.signature_days), days(documented.refusal_days)), (Some(400), Some(90)));
    let without = example().replace("signature_details_days = 400\n", "").replace("refusal_details_days = 90\n", "");
    assert!(!retention(&without).erases());
    assert!(!retention(&without.replace("[retention]\n", "")).erases());
}

#[test]
fn limits_can_be_set_one_by_one() {
    let folder = Folder::new();
    let text =
        example().replace("[listener.limits]", "[listener.limits]\nmax_in_flight = 7\nmax_connection_age_seconds = 60");
    let limits = folder.load(&text).unwrap().listener.limits;
    assert_eq!((limits.max_in_flight.get(), limits.max_connection_age), (7, Some(Duration::from_secs(60))));
    assert_eq!(limits.max_connections.get(), 1024);
}

/// Line, field and message of the example with one text replaced by another.
fn refused(from: &str, to: &str) -> (usize, String, String) {
    let folder = Folder::new();
    let text = example();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let errors = folder.load(&text).unwrap_err();
    assert_eq!(errors.errors.len(), 1);
    let ConfigError { line, field, message, .. } = errors.errors[0].clone();
    let shown = errors.to_string();
    assert!(shown.contains("chancery.toml:"), "{shown}");
    let line = line.unwrap_or_else(|| panic!("no line: {shown}"));
    let wanted = to.lines().last().unwrap();
    assert!(text.lines().nth(line - 1).unwrap().contains(wanted), "line {line} of: {shown}");
    (line, field, message)
}

#[test]
fn a_malformed_field_is_refused_with_its_line_and_name() {
    for (from, to, field, message) in [
        ("instance = \"main\"", "instance = \"Main\"", "instance", "must match [a-z][a-z0-9-]{0,62}"),
        ("address = \"127.0.0.1:8443\"", "address = \"localhost\"", "listener.address", "invalid socket address"),
        (
            "client_auth = \"required\"",
            "client_auth = \"maybe\"",
            "listener.client_auth",
            "expected `required` or `optional`",
        ),
        ("roles = [\"signer\"]", "roles = [\"root\"]", "caller.roles", "the roles are signer, verifier"),
        (
            "[\"spiffe://chancery.dev/checkout\"]",
            "[\"checkout\"]",
            "caller.identities",
            "write a SPIFFE id as spiffe://",
        ),
        (
            "[\"spiffe://chancery.dev/checkout\"]",
            "[\"spiffe://chancery.dev\"]",
            "caller.identities",
            "trust-domain/path",
        ),
        ("[\"spiffe://chancery.dev/checkout\"]", "[\"dns:*.example\"]", "caller.identities", "no wildcard"),
        ("key_rings = [\"dev\"]", "key_rings = [\"dev\", \"dev\"]", "caller.key_rings", "given twice"),
        ("log_format = \"json\"", "log_format = \"xml\"", "telemetry.log_format", "expected `json` or `text`"),
        ("\"chancery.dev.example\"", "\"chancery dev\"", "caller_signatures.audience", "visible ASCII characters"),
        ("\"chancery.dev.example\"", "\"\"", "caller_signatures.audience", "1 to 128"),
        ("signing_threads = 2", "signing_threads = 0", "token.signing_threads", "nonzero"),
        ("[listener.limits]", "[listener.limits]\nmax_in_flight = 0", "listener.limits.max_in_flight", "nonzero"),
        ("log.example.com/chancery", "a log", "log.origin", "without spaces"),
        (
            "checkpoint_interval_seconds = 1",
            "checkpoint_interval_seconds = 0",
            "log.checkpoint_interval_seconds",
            "at least 1",
        ),
        ("signature_details_days = 400", "signature_details_days = 0", "retention.signature_details_days", "nonzero"),
        (
            "[listener.limits]",
            "[listener.limits]\nhandshake_timeout_seconds = 0",
            "listener.limits.handshake_timeout_seconds",
            "at least 1 second",
        ),
    ] {
        let (_, found, text) = refused(from, to);
        assert_eq!(found, field, "{to}: {text}");
        assert!(text.contains(message), "{to}: {text}");
    }
}

#[test]
fn an_unknown_field_is_refused_in_every_section() {
    for section in [
        "[listener]",
        "[listener.limits]",
        "[admin]",
        "[store]",
        "[policy]",
        "[hsm]",
        "[log]",
        "[log.archive]",
        "[caller_signatures]",
        "[retention]",
        "[telemetry]",
    ] {
        let (_, _, message) = refused(section, &format!("{section}\nmax_conections = 9"));
        assert!(
            message.contains("unknown field `max_conections`") && message.contains("correct the name"),
            "{message}"
        );
    }
    for section in ["[[listener.client_ca]]", "[[token]]", "[[key_ring]]", "[[caller]]"] {
        let (_, _, message) = refused(section, &format!("{section}\ncolour = \"red\""));
        assert!(message.contains("unknown field `colour`"), "{message}");
    }
    let (_, _, message) = refused("instance = \"main\"", "instance = \"main\"\ncolour = \"red\"");
    assert!(message.contains("unknown field `colour`"), "{message}");
}

#[test]
fn a_missing_field_is_named() {
    let folder = Folder::new();
    let errors = folder.load(&example().replace("label = \"chancery-dev\"\n", "")).unwrap_err();
    let message = errors.to_string();
    assert!(message.contains("missing field `label`") && message.contains("docs/configuration.md"), "{message}");
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    let (line, _, _) = refused("instance = \"main\"", "instance = main");
    assert_eq!(line, 1);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(Path::new("/nonexistent/chancery.toml")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/nonexistent/chancery.toml") && text.contains("chancery dev"), "{text}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn no_value_of_an_environment_is_shown() {
    let folder = Folder::new();
    let text = example().replace("SOFTHSM2_CONF = \"softhsm2.conf\"", "VENDOR_PASSWORD = \"hunter2\"");
    let shown = format!("{:?}", folder.load(&text).unwrap());
    assert!(shown.contains("VENDOR_PASSWORD") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_pin_has_one_source() {
    let folder = Folder::new();
    for (written, source) in [
        ("pin_credential = \"pin-main\"", PinSource::Credential("pin-main".to_owned())),
        ("pin_descriptor = 5", PinSource::Descriptor(5)),
        ("pin_prompt = true", PinSource::Terminal),
    ] {
        let config = folder.load(&example().replace("pin_file = \"pin\"", written)).unwrap();
        assert_eq!(config.tokens[0].pin, source);
        let both = example().replace("pin_file = \"pin\"", &format!("pin_file = \"pin\"\n{written}"));
        let errors = folder.load(&both).unwrap_err().to_string();
        assert!(errors.contains("several sources") && errors.contains("pin_descriptor"), "{errors}");
    }
    let errors = folder.load(&example().replace("pin_file = \"pin\"", "")).unwrap_err().to_string();
    assert!(errors.contains("pin_file, pin_credential, pin_descriptor"), "{errors}");
}

#[test]
fn sources_of_pins_that_cannot_serve_are_told() {
    let folder = Folder::new();
    for (written, severity, word) in [
        ("pin_prompt = true", Severity::Warning, "pin_prompt"),
        ("pin_credential = \"../pin\"", Severity::Error, "pin_credential"),
        ("pin_descriptor = 2", Severity::Error, "pin_descriptor"),
    ] {
        let (found, field, _) = folder.only_finding("pin_file = \"pin\"", written);
        assert_eq!((found, field), (severity, format!("token.main.{word}")));
    }
}

#[test]
fn secrets_that_others_can_read_are_errors() {
    let folder = Folder::new();
    for (file, field) in [("pin", "token.main.pin_file"), ("tls/server.key", "listener.private_key")] {
        let path = folder.0.path().join(file);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let (severity, found, message) = folder.only_finding("", "");
        assert_eq!((severity, found.as_str()), (Severity::Error, field));
        assert!(message.contains("mode 640") && message.contains("chmod 600"), "{message}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn missing_files_are_errors() {
    let folder = Folder::new();
    for (file, field) in [
        ("tls/server.pem", "listener.certificate"),
        ("tls/server.key", "listener.private_key"),
        ("tls/ca.pem", "listener.client_ca.certificate"),
        ("policy/roles.cedar", "policy.first"),
        ("module.so", "token.main.module"),
        ("pin", "token.main.pin_file"),
    ] {
        let path = folder.0.path().join(file);
        std::fs::rename(&path, folder.0.path().join("aside")).unwrap();
        let (severity, found, message) = folder.only_finding("", "");
        assert_eq!((severity, found.as_str()), (Severity::Error, field));
        assert!(message.contains(file), "{message}");
        std::fs::rename(folder.0.path().join("aside"), &path).unwrap();
    }
    let (_, field, _) = folder.only_finding("path = \"chancery.db\"", "path = \"nowhere/chancery.db\"");
    assert_eq!(field, "store.path");
}

#[test]
fn what_names_something_unknown_is_an_error() {
    let folder = Folder::new();
    let (severity, field, message) =
        folder.only_finding("id = \"dev\"\ntoken = \"main\"", "id = \"dev\"\ntoken = \"spare\"");
    assert_eq!((severity, field.as_str()), (Severity::Error, "key_ring.dev.token"));
    assert_eq!(message, "there is no token spare; the tokens are: main".replace("spare", "\"spare\""));
    let (severity, field, message) = folder.only_finding("key_rings = [\"dev\"]", "key_rings = [\"prod\"]");
    assert_eq!((severity, field.as_str()), (Severity::Error, "caller.checkout.key_rings"));
    assert!(message.contains("the key rings are: dev"), "{message}");
}

#[test]
fn what_is_given_twice_is_an_error() {
    let folder = Folder::new();
    let second_ring = "[[key_ring]]\nid = \"dev\"\ntoken = \"main\"\nenvironment = \"dev\"\n\n[[caller]]";
    let (severity, field, _) = folder.only_finding("[[caller]]", second_ring);
    assert_eq!((severity, field.as_str()), (Severity::Error, "key_ring.dev"));
    let second_caller = "[[caller]]\nid = \"billing\"\nenvironment = \"dev\"\n\
                         identities = [\"spiffe://chancery.dev/checkout\"]\n\n[[caller]]";
    let (severity, field, message) = folder.only_finding("[[caller]]", second_caller);
    assert_eq!((severity, field.as_str()), (Severity::Error, "caller.checkout.identities"));
    assert!(message.contains("belongs to the caller billing".replace("billing", "\"billing\"").as_str()), "{message}");
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let folder = Folder::new();
    for (from, to, field) in [
        ("client_auth = \"required\"", "client_auth = \"optional\"", "listener.client_auth"),
        ("address = \"127.0.0.1:9443\"", "address = \"0.0.0.0:9443\"", "admin.address"),
        ("[\"spiffe://chancery.dev/checkout\"]", "[\"dns:shop.example\"]", "caller.checkout.identities"),
        (
            "token = \"main\"\nenvironment = \"dev\"",
            "token = \"main\"\nenvironment = \"prod\"",
            "caller.checkout.key_rings",
        ),
        ("[listener.limits]", "[listener.limits]\nmax_in_flight = 10", "listener.limits.max_in_flight_per_caller"),
        ("[listener.limits]", "[listener.limits]\nmax_handshakes = 1024", "listener.limits.max_handshakes"),
        (
            "[listener.limits]",
            "[listener.limits]\nmax_connections_per_address = 1024",
            "listener.limits.max_connections_per_address",
        ),
        (
            "[listener.limits]",
            "[listener.limits]\nmax_handshakes_per_address = 256",
            "listener.limits.max_handshakes_per_address",
        ),
    ] {
        let (severity, found, _) = folder.only_finding(from, to);
        assert_eq!((severity, found.as_str()), (Severity::Warning, field), "{to}");
    }
}

#[test]
fn what_cannot_work_is_an_error() {
    let folder = Folder::new();
    for (from, to, field) in [
        ("address = \"127.0.0.1:9443\"", "address = \"127.0.0.1:8443\"", "admin.address"),
        (
            "[listener.limits]",
            "[listener.limits]\ndefault_deadline_seconds = 200",
            "listener.limits.default_deadline_seconds",
        ),
        ("log_filter = \"info\"", "log_filter = \"chancery=loud\"", "telemetry.log_filter"),
        ("\"http://127.0.0.1:4317\"", "\"127.0.0.1:4317\"", "telemetry.otlp_endpoint"),
        ("label = \"chancery-dev\"", "label = \"a label that is too long for a token\"", "token.main.label"),
    ] {
        let (severity, found, _) = folder.only_finding(from, to);
        assert_eq!((severity, found.as_str()), (Severity::Error, field), "{to}");
    }
    let authority = "[[listener.client_ca]]\ncertificate = \"tls/ca.pem\"";
    let start = usable_example().find(authority).unwrap();
    let block: String = usable_example()[start..].split("\n\n").next().unwrap().to_owned();
    let fields: Vec<String> = folder.findings(&block, "").into_iter().map(|(_, field, _)| field).collect();
    assert!(fields.contains(&"listener.client_ca".to_owned()), "{fields:?}");
}

#[test]
fn what_is_weak_is_a_warning() {
    let folder = Folder::new();
    let admin = "[admin]\naddress = \"127.0.0.1:9443\"\n";
    let operator = "roles = [\"policy-administrator\", \"signer\"]";
    let rings = "[[key_ring]]\nid = \"live\"\ntoken = \"main\"\nenvironment = \"prod\"\n\n[[caller]]";
    for (from, to, field, word) in [
        ("first = [\"policy/roles.cedar\"]", "", "caller", "policy-administrator"),
        ("roles = [\"signer\"]", operator, "caller.checkout.roles", "two callers"),
        ("[[caller]]", rings, "token.main", "its own token"),
    ] {
        let (severity, found, message) = folder.only_finding(from, to);
        assert_eq!((severity, found.as_str()), (Severity::Warning, field), "{to}");
        assert!(message.contains(word), "{message}");
    }
    let unwatched = usable_example().replace(admin, "").replace("otlp_endpoint = \"http://127.0.0.1:4317\"", "");
    let findings = check(&folder.load(&unwatched).unwrap());
    assert_eq!(findings.iter().map(|finding| finding.field.as_str()).collect::<Vec<_>>(), ["telemetry"]);
}

#[test]
fn copies_of_keys_that_matter_are_a_warning() {
    let folder = Folder::new();
    let ring = "[[key_ring]]\n";
    let open = usable_example().replace(ring, "[[key_ring]]\nallow_extractable = true\n");
    let config = folder.load(&open).unwrap();
    assert!(
        config.key_rings[0].allow_extractable
            && !folder.load(&usable_example()).unwrap().key_rings[0].allow_extractable
    );
    assert_eq!(check(&config), [], "of a development ring they may be");
    let findings = check(&folder.load(&open.replace("environment = \"dev\"", "environment = \"prod\"")).unwrap());
    let fields: Vec<_> = findings.iter().map(|finding| (finding.severity, finding.field.as_str())).collect();
    assert_eq!(fields, [(Severity::Warning, "key_ring.dev.allow_extractable")]);
}

#[test]
fn keys_that_matter_are_not_kept_in_files() {
    let folder = Folder::new();
    folder.write("libsofthsm2.so", "content");
    let soft = usable_example().replace("module.so", "libsofthsm2.so");
    assert_eq!(check(&folder.load(&soft).unwrap()), [], "of a development ring they may be");
    let live = soft.replace("environment = \"dev\"", "environment = \"prod\"");
    let findings = check(&folder.load(&live).unwrap());
    assert_eq!(findings.iter().map(|finding| finding.field.as_str()).collect::<Vec<_>>(), ["token.main.module"]);
    assert!(findings[0].message.contains("hardware"), "{findings:?}");
}

#[test]
fn a_state_that_does_not_outlive_the_machine_is_a_warning() {
    if mounts::file_system(Path::new("/dev/shm")).as_deref() != Some("tmpfs") {
        return; // a machine without it: mounts' own tests cover the table
    }
    let folder = Folder::new();
    let text = usable_example()
        .replace("path = \"chancery.db\"", "path = \"/dev/shm/chancery.db\"")
        .replace("lock_dir = \"locks\"", "lock_dir = \"/dev/shm/locks\"");
    let findings = folder.load(&text).unwrap().check();
    assert_eq!(
        findings.iter().map(|finding| finding.field.as_str()).collect::<Vec<_>>(),
        ["store.path", "hsm.lock_dir"]
    );
}

#[test]
fn files_that_others_can_write_are_warnings() {
    let folder = Folder::new();
    let config = folder.load(&usable_example()).unwrap();
    for (file, field) in [("chancery.toml", "configuration"), ("module.so", "token.main.module")] {
        let path = folder.0.path().join(file);
        std::fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        let findings = check(&config);
        assert_eq!(findings.iter().map(|finding| finding.field.as_str()).collect::<Vec<_>>(), [field]);
        assert_eq!(findings[0].severity, Severity::Warning);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_secret_in_a_readable_file_is_a_warning() {
    let folder = Folder::new();
    let text = usable_example().replace("SOFTHSM2_CONF = \"softhsm2.conf\"", "VENDOR_USER_PASSWORD = \"hunter2\"");
    let config = folder.load(&text).unwrap();
    assert_eq!(check(&config), [], "of its owner alone it may be");
    std::fs::set_permissions(&config.path, Permissions::from_mode(0o644)).unwrap();
    let findings = check(&config);
    assert_eq!(findings.iter().map(|finding| finding.field.as_str()).collect::<Vec<_>>(), ["token.main.environment"]);
    assert!(!findings[0].message.contains("hunter2"), "{findings:?}");
    assert!(looks_secret("P11_PIN") && !looks_secret("SHIPPING_ZONE") && !looks_secret("SOFTHSM2_CONF"));
}

#[test]
fn a_certificate_that_ends_or_does_not_fit_is_found_before_the_start() {
    let folder = Folder::new();
    let authority = TestAuthority::new("authority");
    let first = |findings: Vec<Finding>| (findings[0].severity, findings[0].field.clone(), findings[0].message.clone());
    let found = || first(check(&folder.load(&usable_example()).unwrap()));

    folder.certify(&authority, Duration::from_secs(60));
    let (severity, field, message) = found();
    assert_eq!((severity, field.as_str()), (Severity::Warning, "listener.certificate"));
    assert!(message.contains("expires in 0 hours"), "{message}");

    folder.write("tls/server.key", &authority.server().key.serialize_pem());
    let (severity, field, message) = found();
    assert_eq!((severity, field.as_str()), (Severity::Error, "listener"));
    assert!(message.contains("cannot be used together"), "{message}");

    folder.write("tls/server.pem", "content");
    let (severity, _, message) = found();
    assert!(severity == Severity::Error && message.contains("holds no PEM certificate"), "{message}");
}

#[test]
fn a_crl_that_is_late_or_of_another_is_found_before_the_start() {
    let folder = Folder::new();
    let authority = TestAuthority::new("authority");
    folder.write("tls/ca.pem", &authority.certificate.pem());
    let found = || check(&folder.load(&usable_example()).unwrap());
    // Of the authority before, which had the same name.
    let [Finding { severity: Severity::Error, field, message }] = &*found() else { panic!("{:?}", found()) };
    assert!(field == "listener" && message.contains("is not signed by its key"), "{field}: {message}");
    folder.revoke(&authority, Duration::from_secs(48 * 3600));
    assert_eq!(found(), []);
    folder.revoke(&authority, Duration::from_secs(23 * 3600));
    let [Finding { severity: Severity::Warning, field, message }] = &*found() else { panic!("{:?}", found()) };
    assert!(field == "listener.client_ca.crl" && message.contains("less than 23 hours"), "{field}: {message}");
    folder.revoke(&authority, Duration::ZERO);
    let [Finding { severity: Severity::Warning, field, message }] = &*found() else { panic!("{:?}", found()) };
    assert!(field == "listener.client_ca.crl" && message.contains("past its nextUpdate"), "{field}: {message}");
    let field = folder.only_finding("crl = \"tls/ca.crl\"", "crl = \"tls/missing.crl\"").1;
    assert_eq!(field, "listener.client_ca.crl");
}

#[test]
fn a_credential_of_a_unit_is_not_looked_at_from_elsewhere() {
    let folder = Folder::new();
    let credential = "pin_file = \"/run/credentials/chancery.service/pin\"";
    let (severity, field, message) = folder.only_finding("pin_file = \"pin\"", credential);
    assert_eq!((severity, field.as_str()), (Severity::Warning, "token.main.pin_file"));
    assert!(message.contains("systemd"), "{message}");
}

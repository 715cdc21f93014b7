//! The steps of the image, run without an engine, and what Dockerfile and compose file refer to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chancery_tests::program::{Running, chancery, command, run, source_tree, succeed};
use yaml_rust2::{Yaml, YamlLoader};

/// A script of the image, which finds the binary as it does there: by its name.
fn script(name: &str, home: &Path) -> Command {
    let mut script = command(source_tree().join("deploy/docker").join(name));
    let binaries = chancery().parent().unwrap().to_owned();
    let path =
        std::env::join_paths([binaries].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    script.env("PATH", path.unwrap()).env("CHANCERY_HOME", home);
    script.env("CHANCERY_LISTEN", "127.0.0.1:0").env("CHANCERY_ADMIN_LISTEN", "127.0.0.1:0");
    script
}

fn start(home: &Path, collector: &str) -> Running {
    let log = home.with_extension("log");
    let mut service = Running::start(script("entrypoint.sh", home).env("CHANCERY_OTLP_ENDPOINT", collector), &log);
    service.until("a healthy service", |_| (run(&mut script("healthcheck.sh", home)).1 == Some(0)).then_some(()));
    service
}

fn collectors(home: &Path) -> Vec<String> {
    let config = std::fs::read_to_string(home.join("chancery.toml")).unwrap();
    let parsed: toml::Table = config.parse().unwrap();
    let in_force = parsed["telemetry"]["otlp_endpoint"].as_str().unwrap().to_owned();
    assert_eq!(config.matches("otlp_endpoint").count(), 1, "{config}");
    vec![in_force]
}

#[test]
fn a_container_comes_up_signs_and_comes_up_again_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    assert_ne!(run(&mut script("healthcheck.sh", &home)).1, Some(0), "nothing is healthy before the start");

    let mut service = start(&home, "http://127.0.0.1:9");
    assert_eq!(collectors(&home), ["http://127.0.0.1:9"]);
    let said = succeed(&mut script("first-key.sh", &home));
    assert!(said.contains("docker compose exec"), "{said}");

    // The command that it names, without the engine's part.
    let sign = |home: &Path, signature: &Path| {
        let mut sign = command(chancery());
        sign.args(["sign", "dev/hello", "--in"])
            .arg(source_tree().join("Dockerfile"))
            .arg("--signature")
            .arg(signature);
        succeed(sign.env("CHANCERY_DEV", home))
    };
    let first = folder.path().join("first.sig");
    let _said = sign(&home, &first);
    let status = service.stop();
    assert!(status.success(), "{status}: {}", service.log());

    // The volume outlives the container: the key is there, and the collector may be another.
    let mut service = start(&home, "http://127.0.0.1:10");
    assert_eq!(collectors(&home), ["http://127.0.0.1:10"]);
    let said = succeed(&mut script("first-key.sh", &home));
    assert!(!said.contains("versions/2"), "the key is not made twice: {said}");
    let mut verify = command(chancery());
    verify.args(["verify", "dev/hello/1", "--in"]).arg(source_tree().join("Dockerfile")).arg("--signature").arg(&first);
    let _said = succeed(verify.env("CHANCERY_DEV", &home));
    let status = service.stop();
    assert!(status.success(), "{status}: {}", service.log());
}

#[test]
fn the_entrypoint_passes_commands_on_and_refuses_what_would_break_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let said = succeed(script("entrypoint.sh", &home).arg("--version"));
    assert!(said.starts_with("chancery "), "{said}");
    assert!(!home.exists(), "a command makes no folder");
    let (said, code) =
        run(script("entrypoint.sh", &home).env("CHANCERY_OTLP_ENDPOINT", "http://x:1\"\ninstance = \"y"));
    assert!(code == Some(2) && said.contains("CHANCERY_OTLP_ENDPOINT"), "{code:?} {said}");
}

/// The instructions of the Dockerfile, continued lines joined.
fn dockerfile() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(source_tree().join("Dockerfile")).unwrap().replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

fn of<'a>(instructions: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    instructions.iter().filter(|(found, _)| found == name).map(|(_, rest)| rest.as_str()).collect()
}

fn ignored() -> Vec<String> {
    let text = std::fs::read_to_string(source_tree().join(".dockerignore")).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn everything_that_the_image_is_made_of_is_there() {
    let instructions = dockerfile();
    let mut copied = BTreeSet::new();
    for copy in of(&instructions, "COPY").iter().filter(|copy| !copy.starts_with("--from=")) {
        let words: Vec<&str> = copy.split_whitespace().collect();
        let (target, sources) = words.split_last().unwrap();
        for source in sources {
            let path = source_tree().join(source);
            assert!(path.exists(), "COPY {source}");
            assert!(!ignored().iter().any(|pattern| pattern == source), "{source} is in .dockerignore");
            if path.is_file() {
                assert_ne!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0, "{source} is run there");
                let name = Path::new(source).file_name().unwrap();
                copied.insert(if target.ends_with('/') { Path::new(target).join(name) } else { PathBuf::from(target) });
            }
        }
    }
    let named: Vec<String> =
        ["HEALTHCHECK", "ENTRYPOINT"].iter().map(|name| of(&instructions, name).concat()).collect();
    for text in named {
        let script = text.split('"').find(|part| part.starts_with('/')).unwrap_or_else(|| panic!("{text}"));
        assert!(copied.contains(Path::new(script)), "{script} is not in the image: {copied:?}");
    }
    // Nobody is root in the end, and every base image has a version.
    let user = of(&instructions, "USER").last().unwrap().split(':').next().unwrap().parse::<u32>().unwrap();
    assert_ne!(user, 0);
    assert!(of(&instructions, "FROM").iter().all(|from| from.contains("${") && !from.contains("latest")));
    for argument in of(&instructions, "ARG") {
        assert!(argument.contains('='), "{argument} has no version");
    }
}

fn yaml(path: &str) -> Yaml {
    let text = std::fs::read_to_string(source_tree().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

fn strings(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec().map(|items| items.iter().map(|item| item.as_str().unwrap()).collect()).unwrap_or_default()
}

fn services(compose: &Yaml) -> BTreeMap<&str, &Yaml> {
    compose["services"].as_hash().unwrap().iter().map(|(name, service)| (name.as_str().unwrap(), service)).collect()
}

#[test]
fn what_compose_mounts_is_there() {
    let compose = yaml("docker-compose.yml");
    let services = services(&compose);
    let names: Vec<&str> = services.keys().copied().collect();
    assert_eq!(names, ["chancery", "first-key", "grafana", "jaeger", "otel-collector", "prometheus"]);
    let volumes: BTreeSet<&str> =
        compose["volumes"].as_hash().unwrap().keys().map(|name| name.as_str().unwrap()).collect();
    for (name, service) in &services {
        for volume in strings(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            match source.strip_prefix("./") {
                Some(path) => assert!(source_tree().join(path).exists(), "{name}: {source}"),
                None => assert!(volumes.contains(source), "{name}: {source}"),
            }
        }
        match service["image"].as_str() {
            Some(image) => assert!(image.contains(':') && !image.ends_with(":latest"), "{name}: {image}"),
            None => panic!("{name} has no image"),
        }
        for port in strings(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is reachable from other machines");
        }
        if let Some(others) = service["depends_on"].as_hash() {
            assert!(others.keys().all(|other| services.contains_key(other.as_str().unwrap())), "{name}");
        }
    }
}

/// The parts find each other: every `service:port` that a configuration names is one at which that service listens.
#[test]
fn ports_match_the_configurations() {
    let compose = yaml("docker-compose.yml");
    let services = services(&compose);
    let listening: BTreeMap<&str, &[u16]> = BTreeMap::from([
        ("chancery", [8443, 9443].as_slice()),
        ("otel-collector", &[4317, 4318, 8888, 8889, 13133]),
        ("jaeger", &[4317, 4318, 16686]),
        ("prometheus", &[9090]),
        ("grafana", &[3000]),
    ]);
    let exposed: BTreeSet<u16> =
        of(&dockerfile(), "EXPOSE").concat().split_whitespace().map(|port| port.parse().unwrap()).collect();
    assert_eq!(exposed, listening["chancery"].iter().copied().collect());
    for (name, service) in &services {
        for port in strings(&service["ports"]) {
            let inside: u16 = port.rsplit(':').next().unwrap().parse().unwrap();
            assert!(listening[name].contains(&inside), "{name}: {port}");
        }
    }

    let mut named = BTreeSet::new();
    let read = |path: &str| {
        std::fs::read_to_string(source_tree().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let mut texts = vec![
        ("docker-compose.yml".to_owned(), read("docker-compose.yml")),
        ("prometheus".to_owned(), read("deploy/prometheus/prometheus.yml")),
        ("otel-collector".to_owned(), read("deploy/otel-collector/config.yaml")),
    ];
    for entry in std::fs::read_dir(source_tree().join("deploy/grafana/provisioning/datasources")).unwrap() {
        texts.push(("grafana".to_owned(), std::fs::read_to_string(entry.unwrap().path()).unwrap()));
    }
    for (owner, text) in &texts {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        for word in lines.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || ":.-".contains(c)))) {
            let Some((host, port)) = word.rsplit_once(':') else { continue };
            let (Some(ports), Ok(port)) = (listening.get(host), port.parse::<u16>()) else { continue };
            assert!(ports.contains(&port), "{owner} names {word}, and nobody listens there");
            named.insert((owner.clone(), word.to_owned()));
        }
    }
    for (owner, target) in [
        ("docker-compose.yml", "otel-collector:4317"),
        ("otel-collector", "jaeger:4317"),
        ("prometheus", "chancery:9443"),
        ("grafana", "prometheus:9090"),
    ] {
        assert!(named.contains(&(owner.to_owned(), target.to_owned())), "{owner} does not name {target}: {named:?}");
    }
}

#[test]
fn the_observability_files_are_yaml() {
    for path in
        ["deploy/prometheus/prometheus.yml", "deploy/prometheus/alerts.yml", "deploy/otel-collector/config.yaml"]
    {
        assert!(yaml(path).as_hash().is_some_and(|hash| !hash.is_empty()), "{path}");
    }
    for folder in ["datasources", "dashboards"] {
        let folder = source_tree().join("deploy/grafana/provisioning").join(folder);
        let mut files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let first = files.next().unwrap().unwrap().path();
        assert!(yaml(first.to_str().unwrap()).as_hash().is_some(), "{}", first.display());
    }
}

/// The scripts are those of a POSIX shell, and say what is wrong with them where they are not.
#[test]
fn the_scripts_are_well_formed() {
    for name in ["entrypoint.sh", "healthcheck.sh", "first-key.sh"] {
        let mut check = Command::new("sh");
        let (said, code) =
            run(check.arg("-n").arg(source_tree().join("deploy/docker").join(name)).stdin(Stdio::null()));
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

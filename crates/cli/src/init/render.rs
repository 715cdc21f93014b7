//! The configuration file, with what each section is for.

use std::fmt::Write as _;
use std::path::Path;

use chancery_server::config::IdentityKind;
use toml::Value;

use super::entries::{CallerEntry, RingEntry, TokenEntry};
use super::{ClientAuth, ClientCa, LogFormat, Plan};

/// The file's text. A [`Plan`] that is settled gives one that the service reads.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    head(&mut text, plan);
    listener(&mut text, plan);
    rest(&mut text, plan);
    plan.tokens.iter().for_each(|token| self::token(&mut text, token));
    section(&mut text, "Named sets of keys. Keys do not move: a ring keeps its token and its environment.");
    plan.rings.iter().for_each(|ring| self::ring(&mut text, ring));
    if let Some(token) = plan.tokens.first() {
        section(
            &mut text,
            "The token with the service's own secrets, out of callers' reach: the one that the state in the database is sealed\n\
             with, and the one under which API keys are hashed. Secrets do not move: keep the token.",
        );
        text.push_str("[system_ring]\n");
        field(&mut text, "token", quoted(token.id.as_str()));
    }
    if !plan.callers.is_empty() {
        section(
            &mut text,
            "Who may ask at all, by the identity in the client certificate. What each may do is decided by policy; with the\n\
             shipped policies by its roles, in its key rings. Who administers never signs. Registered at the first start; from\n\
             then on changed by `chancery callers`, and no longer read from here.",
        );
        plan.callers.iter().for_each(|caller| self::caller(&mut text, caller));
    }
    telemetry(&mut text, plan);
    text
}

fn head(text: &mut String, plan: &Plan) {
    text.push_str(
        "# Written by `chancery init`. Every field is described in docs/configuration.md.\n\
         # After a change: chancery config check FILE, then restart the service. It holds no secrets: it names their files.\n\n",
    );
    text.push_str("# Names this instance in the record. Keep it across restarts; two instances never share one.\n");
    field(text, "instance", quoted(plan.instance.as_str()));
}

fn listener(text: &mut String, plan: &Plan) {
    let (client_auth, without) = match plan.client_auth {
        ClientAuth::Required => ("required", ""),
        ClientAuth::Optional => (
            "optional",
            "\nA connection without a client certificate is taken; its calls need an API key, or a token of an OIDC issuer.",
        ),
    };
    section(
        text,
        &format!(
            "Where callers connect: gRPC over mutual TLS, nothing else. The files are read again when they change; replace\n\
             them by renaming new ones into place. The key's file is the service's alone (mode 600).{without}"
        ),
    );
    text.push_str("[listener]\n");
    field(text, "address", quoted(&plan.listen.to_string()));
    field(text, "certificate", path(&plan.certificate));
    field(text, "private_key", path(&plan.private_key));
    field(text, "client_auth", quoted(client_auth));
    section(
        text,
        "Authorities whose client certificates are accepted. What names a caller in them: \"spiffe\", its one SPIFFE id, or\n\
         \"dns\", its one DNS name; never the common name.",
    );
    for ClientCa { certificate, identity } in &plan.client_cas {
        text.push_str("[[listener.client_ca]]\n");
        field(text, "certificate", path(certificate));
        let identity = match identity {
            IdentityKind::Spiffe => "spiffe",
            IdentityKind::Dns => "dns",
        };
        field(text, "identity", quoted(identity));
        text.push('\n');
    }
    text.pop();
}

fn rest(text: &mut String, plan: &Plan) {
    if let Some(admin) = plan.admin {
        section(
            text,
            "Metrics (/metrics) and probes (/livez, /readyz), for machines that watch. Plain HTTP without authentication:\n\
             keep it on this machine, or where only your own monitoring comes.",
        );
        text.push_str("[admin]\n");
        field(text, "address", quoted(&admin.to_string()));
    }
    section(text, "State and record, in one SQLite file on a local disk that outlives the machine's restart.");
    text.push_str("[store]\n");
    field(text, "path", path(&plan.store));
    section(
        text,
        "Locks that keep two processes off one token, and the marks of PINs that were refused and are not tried again.\n\
         Every Chancery process on this machine that may open one of the tokens names the same folder.",
    );
    text.push_str("[hsm]\n");
    field(text, "lock_dir", path(&plan.lock_dir));
    section(
        text,
        "PKCS#11 tokens, each served by a worker process of its own. Found by label and serial, never by slot number.\n\
         The PIN is read from its file, on one line, the service's alone (mode 600).",
    );
}

fn token(text: &mut String, token: &TokenEntry) {
    let TokenEntry { id, module, label, serial, pin_file, environment } = token;
    text.push_str("[[token]]\n");
    field(text, "id", quoted(id.as_str()));
    field(text, "module", path(&module.0));
    field(text, "label", quoted(label));
    if let Some(serial) = serial {
        field(text, "serial", quoted(serial));
    }
    field(text, "pin_file", path(&pin_file.0));
    if !environment.is_empty() {
        text.push_str("\n# The whole environment of the worker.\n[token.environment]\n");
        environment.iter().for_each(|(name, value)| field(text, &quoted(name), quoted(value)));
    }
    text.push('\n');
}

fn ring(text: &mut String, ring: &RingEntry) {
    let RingEntry { id, token, environment } = ring;
    text.push_str("[[key_ring]]\n");
    field(text, "id", quoted(id.as_str()));
    for (name, value) in [("token", token), ("environment", environment)] {
        if let Some(value) = value {
            field(text, name, quoted(value.as_str()));
        }
    }
    text.push('\n');
}

fn caller(text: &mut String, caller: &CallerEntry) {
    let CallerEntry { id, identities, roles, rings, groups, environment } = caller;
    text.push_str("[[caller]]\n");
    field(text, "id", quoted(id.as_str()));
    if let Some(environment) = environment {
        field(text, "environment", quoted(environment.as_str()));
    }
    field(text, "identities", list(identities.iter().map(String::as_str)));
    field(text, "roles", list(roles.iter().map(|role| role.as_str())));
    for (name, ids) in [("key_rings", rings), ("groups", groups)] {
        if !ids.is_empty() {
            field(text, name, list(ids.iter().map(|id| id.as_str())));
        }
    }
    text.push('\n');
}

fn telemetry(text: &mut String, plan: &Plan) {
    section(text, "Logs, on standard error, and traces. None of them holds a payload, a digest or a PIN.");
    text.push_str("[telemetry]\n");
    let format = match plan.log_format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    field(text, "log_format", quoted(format));
    field(text, "log_filter", quoted("info"));
    match &plan.otlp_endpoint {
        Some(endpoint) => field(text, "otlp_endpoint", quoted(endpoint)),
        None => text
            .push_str("# otlp_endpoint = \"http://127.0.0.1:4317\"    # an OpenTelemetry collector on this machine\n"),
    }
}

/// A comment above a section, after one empty line.
fn section(text: &mut String, comment: &str) {
    while !text.ends_with("\n\n") {
        text.push('\n');
    }
    for line in comment.lines() {
        let _infallible = writeln!(text, "# {line}");
    }
}

fn field(text: &mut String, name: &str, value: String) {
    let _infallible = writeln!(text, "{name} = {value}");
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::plan::tests::plan;
    use chancery_hsm::PinSource;
    use chancery_server::config;

    /// What was planned, said by what the service reads.
    #[test]
    fn the_service_reads_what_was_planned() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chancery.toml");
        let mut plan = plan();
        plan.settle().unwrap();
        std::fs::write(&file, render(&plan)).unwrap();
        let read = config::load(&file).unwrap();
        assert_eq!((read.instance, read.listener.address), (plan.instance, plan.listen));
        assert_eq!((read.listener.certificate, read.listener.private_key), (plan.certificate, plan.private_key));
        assert_eq!(read.listener.client_auth, config::ClientAuth::Required);
        let cas = read.listener.client_cas.into_iter();
        let cas: Vec<_> = cas.map(|ca| ClientCa { certificate: ca.certificate, identity: ca.identity }).collect();
        assert_eq!(cas, plan.client_cas);
        assert_eq!(read.admin.unwrap().address, plan.admin.unwrap());
        assert_eq!((read.store.path, read.hsm.lock_dir), (plan.store, plan.lock_dir));
        let (token, planned) = (&read.tokens[0], &plan.tokens[0]);
        assert_eq!((&token.id, &token.module, &token.label), (&planned.id, &planned.module.0, &planned.label));
        assert_eq!((&token.serial, &token.pin), (&planned.serial, &PinSource::File(planned.pin_file.0.clone())));
        assert_eq!(token.environment.0, planned.environment);
        let rings: Vec<_> = read.key_rings.iter().map(|ring| (ring.id.as_str(), ring.environment.as_str())).collect();
        assert_eq!(rings, [("payments", "prod"), ("letters", "staging")]);
        let shop = &read.callers[1];
        assert_eq!(shop.identities.iter().map(ToString::to_string).collect::<Vec<_>>(), ["dns:shop.example"]);
        assert_eq!((shop.key_rings.len(), shop.groups.len(), shop.roles.len()), (1, 1, 1));
        assert_eq!(read.telemetry.otlp_endpoint, plan.otlp_endpoint);
    }

    #[test]
    fn what_is_not_wanted_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chancery.toml");
        let mut plan = plan();
        (plan.admin, plan.otlp_endpoint, plan.log_format) = (None, None, LogFormat::Text);
        plan.callers.clear();
        plan.client_auth = ClientAuth::Optional;
        plan.tokens[0].environment.clear();
        plan.settle().unwrap();
        let text = render(&plan);
        std::fs::write(&file, &text).unwrap();
        let read = config::load(&file).unwrap();
        assert_eq!(read.listener.client_auth, config::ClientAuth::Optional);
        assert!(read.callers.is_empty() && !text.contains("Who may ask"), "{text}");
        assert!(read.admin.is_none() && read.telemetry.otlp_endpoint.is_none());
        assert_eq!(read.telemetry.log_format, config::LogFormat::Text);
        assert!(read.tokens[0].environment.0.is_empty());
    }

    #[test]
    fn it_reads_well() {
        let mut plan = plan();
        plan.settle().unwrap();
        let text = render(&plan);
        assert!(!text.contains("\n\n\n"), "{text}");
        for line in text.lines() {
            assert!(line.len() <= 130, "{line}");
        }
        for (index, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('[')) {
            let before: Vec<&str> = text.lines().take(index).collect();
            let explained = before.last().is_some_and(|above| above.starts_with('#'));
            let again = before.contains(&line);
            assert!(explained || again, "nothing says what {line} is for");
        }
    }
}

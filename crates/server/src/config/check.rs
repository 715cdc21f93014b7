//! What can be found out about a configuration before anything is started with it. Reads; changes nothing.

use super::weak::FOR_TRIALS;
use super::{ApiKeys, Caller, ClientAuth, Config, IdentityKind, KeyRing, SystemRing, Token};
use crate::tls::{self, Freshness};
use chancery_core::SYSTEM_RING;
use chancery_hsm::PinSource;
use chancery_model::{Factor, Id, Identity};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Less is not enough for a worker and a PKCS#11 module that does not leak.
const LEAST_WORKER_MEMORY_BYTES: u64 = 32 << 20;

/// Something to know about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Path of the field, for example `caller.checkout.key_rings`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The service starts; this is probably not what was meant.
    Warning,
    /// The service refuses to start.
    Error,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}: {}", self.field, self.message)
    }
}

impl Config {
    /// Checks what the file says against itself and against the file system. An empty answer: nothing to say. Does not
    /// ask any token and opens no database.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut report = Report::default();
        report.listener(self);
        report.tls(self);
        report.oidc(self);
        report.files(self);
        report.tokens(&self.tokens);
        report.key_rings(&self.key_rings, &self.tokens);
        report.system_ring(self);
        report.log(self);
        report.api_keys(&self.api_keys);
        report.uses(&self.limits);
        report.callers(self);
        report.telemetry(self);
        report.weaknesses(self);
        report.findings
    }
}

/// What was found; the warnings about what is weak are in `weak`.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { severity: Severity::Error, field: field.into(), message: message.into() });
    }

    pub(super) fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { severity: Severity::Warning, field: field.into(), message: message.into() });
    }

    fn listener(&mut self, config: &Config) {
        let listener = &config.listener;
        self.readable("listener.certificate", &listener.certificate);
        self.secret("listener.private_key", &listener.private_key);
        for authority in &listener.client_cas {
            self.readable("listener.client_ca.certificate", &authority.certificate);
            if let Some(crl) = &authority.crl {
                self.readable("listener.client_ca.crl", crl);
            }
        }
        if listener.client_cas.is_empty() {
            let message = "no authority for client certificates is given, so nobody could be recognised; add a \
                           [[listener.client_ca]]";
            self.error("listener.client_ca", message);
        }
        if listener.client_auth == ClientAuth::Optional {
            let message = "connections without a client certificate are accepted: without an API key or OIDC token all that \
                           they can reach is the health service; write \"required\" unless callers have such, or a probe \
                           needs that";
            self.warning("listener.client_auth", message);
        }
        self.limits(&listener.limits);
        let Some(admin) = &config.admin else { return };
        if !admin.address.ip().is_loopback() {
            let message = "is reachable from other machines, in plain HTTP and without authentication; use a loopback \
                           address, or see to it that only your own monitoring reaches it";
            self.warning("admin.address", message);
        }
        if admin.address == listener.address && admin.address.port() != 0 {
            self.error("admin.address", "is the listener's address; give it a port of its own");
        }
    }

    /// Certificate, key and authorities are read as the service will read them, where all of them are there.
    fn tls(&mut self, config: &Config) {
        let listener = &config.listener;
        let authorities = listener.client_cas.iter().flat_map(|it| [Some(&it.certificate), it.crl.as_ref()]).flatten();
        let mut files = [&listener.certificate, &listener.private_key].into_iter().chain(authorities);
        // What is missing has been spoken of.
        if listener.client_cas.is_empty() || !files.all(|file| file.is_file()) {
            return;
        }
        match tls::load(&config.listener, 0) {
            Ok(material) => self.crls(material.authorities.crls()),
            Err(error) => {
                let message = match std::error::Error::source(&error) {
                    Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error} ({source})"),
                    _ => error.to_string(),
                };
                self.error("listener", message);
            }
        }
    }

    /// The service starts with a CRL whose time is over, as callers of other authorities may be let in.
    fn crls(&mut self, crls: &[tls::Crl]) {
        let now = SystemTime::now();
        for crl in crls {
            match crl.freshness(now) {
                Freshness::Fresh => {}
                Freshness::Due | Freshness::Stale => self.warning("listener.client_ca.crl", crl.shown(now)),
            }
        }
    }

    fn files(&mut self, config: &Config) {
        for path in &config.policy.first {
            self.readable("policy.first", path);
        }
        let folder = config.store.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            let message = format!("the folder of {} does not exist; make it", config.store.path.display());
            self.error("store.path", message);
        }
        if config.store.path.is_dir() {
            let message = format!("{} is a folder; name a file in it", config.store.path.display());
            self.error("store.path", message);
        }
        if config.hsm.lock_dir.exists() && !config.hsm.lock_dir.is_dir() {
            let message = format!("{} is not a folder; name one", config.hsm.lock_dir.display());
            self.error("hsm.lock_dir", message);
        }
    }

    fn tokens(&mut self, tokens: &[Token]) {
        if tokens.is_empty() {
            self.error("token", "no token is given, so there is nothing to sign with; add a [[token]]");
        }
        self.duplicates("token", tokens.iter().map(|token| &token.id));
        let (mut places, mut descriptors) = (BTreeSet::new(), BTreeSet::new());
        for token in tokens {
            let field = |name: &str| format!("token.{}.{name}", token.id);
            self.readable(&field("module"), &token.module);
            self.pin(&field, &token.pin);
            if token.label.is_empty() || token.label.len() > 32 {
                self.error(field("label"), "a token's label has 1 to 32 bytes (PKCS#11, CK_TOKEN_INFO)");
            }
            if token.serial.as_ref().is_some_and(|serial| serial.is_empty() || serial.len() > 16) {
                self.error(field("serial"), "a token's serial number has 1 to 16 bytes (PKCS#11, CK_TOKEN_INFO)");
            }
            if token.max_worker_memory_bytes < LEAST_WORKER_MEMORY_BYTES {
                let message =
                    format!("a worker needs some memory itself; allow at least {LEAST_WORKER_MEMORY_BYTES} bytes");
                self.error(field("max_worker_memory_bytes"), message);
            }
            if let PinSource::Descriptor(number) = token.pin
                && !descriptors.insert(number)
            {
                let message = "another [[token]] reads its PIN from this descriptor, and each can be read once";
                self.error(field("pin_descriptor"), message);
            }
            if !places.insert((&token.module, &token.label, &token.serial)) {
                let message = "another [[token]] has the same module, label and serial, and a token has one worker; \
                               remove one of them";
                self.error(field("label"), message);
            }
        }
    }

    fn pin(&mut self, field: &dyn Fn(&str) -> String, source: &PinSource) {
        match source {
            PinSource::File(path) => self.secret(&field("pin_file"), path),
            PinSource::Credential(name) => {
                if name.is_empty() || name.contains('/') || name == "." || name == ".." {
                    let message = format!("{name:?} is not the name of a credential: a file name, without a folder");
                    self.error(field("pin_credential"), message);
                    return;
                }
                match std::env::var_os("CREDENTIALS_DIRECTORY") {
                    Some(folder) => self.secret(&field("pin_credential"), &PathBuf::from(folder).join(name)),
                    None => self.warning(
                        field("pin_credential"),
                        "is a credential, which systemd passes to the running unit: not looked at here",
                    ),
                }
            }
            PinSource::Descriptor(1 | 2) => {
                self.error(field("pin_descriptor"), "1 and 2 are standard output and error; pass the PIN on another");
            }
            PinSource::Descriptor(_) => {}
            PinSource::Terminal => self.warning(
                field("pin_prompt"),
                "the service asks for the PIN at each start, so it does not start where nobody sits at a terminal",
            ),
        }
    }

    fn key_rings(&mut self, rings: &[KeyRing], tokens: &[Token]) {
        if rings.is_empty() {
            self.warning("key_ring", "no key ring is given, so no key can be made; add a [[key_ring]]");
        }
        self.duplicates("key_ring", rings.iter().map(|ring| &ring.id));
        for ring in rings {
            if !tokens.iter().any(|token| token.id == ring.token) {
                let known = list(tokens.iter().map(|token| &token.id));
                let message = format!("there is no token {:?}; the tokens are: {known}", ring.token);
                self.error(format!("key_ring.{}.token", ring.id), message);
            }
            if ring.id.as_str() == SYSTEM_RING {
                let message = "is the name of the service's own ring, which callers never reach; choose another id";
                self.error(format!("key_ring.{}", ring.id), message);
            }
        }
    }

    fn system_ring(&mut self, config: &Config) {
        if !config.store.state_root {
            self.without_a_seal(config);
        } else if config.system_ring.is_none() {
            let message = "is missing: the state is held to a seal by a key in a token (docs/state-root.md); add [system_ring] \
                           with token = the id of a [[token]]";
            self.error("system_ring", message);
        }
        let (Some(SystemRing { token }), tokens) = (&config.system_ring, &config.tokens) else { return };
        if !tokens.iter().any(|known| known.id == *token) {
            let known = list(tokens.iter().map(|token| &token.id));
            self.error("system_ring.token", format!("there is no token {token:?}; the tokens are: {known}"));
        }
    }

    /// Only where nothing is lost by it.
    fn without_a_seal(&mut self, config: &Config) {
        let serious = |environment: &Id| !FOR_TRIALS.contains(&environment.as_str());
        match config.key_rings.iter().find(|ring| serious(&ring.environment)) {
            Some(ring) => {
                let message = format!(
                    "is false, so that who can write to the database can grant himself signatures with the keys of \
                     {}, of the environment {:?}; remove it, and add a [system_ring]",
                    ring.id, ring.environment
                );
                self.error("store.state_root", message);
            }
            None => self.warning(
                "store.state_root",
                "is false: edits of the database by hand are not noticed; remove it, and add a [system_ring]",
            ),
        }
    }

    fn api_keys(&mut self, api_keys: &ApiKeys) {
        self.duplicates("api_keys.environment", api_keys.environments.iter().map(|environment| &environment.id));
    }

    fn callers(&mut self, config: &Config) {
        if config.callers.is_empty() {
            self.warning(
                "caller",
                "no caller is declared, so the service starts only where somebody is registered already; `chancery bootstrap` \
                 registers the first operator",
            );
        }
        self.duplicates("caller", config.callers.iter().map(|caller| &caller.id));
        let mut owners: BTreeMap<&Identity, &Id> = BTreeMap::new();
        for caller in &config.callers {
            let field = |name: &str| format!("caller.{}.{name}", caller.id);
            if caller.identities.is_empty() {
                self.error(field("identities"), "no identity is given, so the caller cannot be recognised; add one");
            }
            for identity in &caller.identities {
                if let Some(owner) = owners.insert(identity, &caller.id) {
                    let message = format!("{identity} belongs to the caller {owner:?} already; remove one of them");
                    self.error(field("identities"), message);
                }
                self.unvouched(config, &caller.id, identity);
            }
            if !Factor::go_together(&caller.required_factors) {
                let message =
                    "api-key and oidc-token come in the same header, so no call can bring both; require one of them";
                self.error(field("required_factors"), message);
            }
            self.rings_of(caller, &config.key_rings);
        }
    }

    fn rings_of(&mut self, caller: &Caller, rings: &[KeyRing]) {
        let field = format!("caller.{}.key_rings", caller.id);
        for wanted in &caller.key_rings {
            match rings.iter().find(|ring| ring.id == *wanted) {
                None => {
                    let known = list(rings.iter().map(|ring| &ring.id));
                    self.error(&field, format!("there is no key ring {wanted:?}; the key rings are: {known}"));
                }
                Some(ring) if ring.environment != caller.environment => {
                    let message = format!(
                        "the key ring {wanted:?} is of environment {:?} and the caller of {:?}: policy never allows that; \
                         remove the ring, or register a caller of its environment",
                        ring.environment, caller.environment
                    );
                    self.warning(&field, message);
                }
                Some(_) => {}
            }
        }
    }

    fn telemetry(&mut self, config: &Config) {
        let telemetry = &config.telemetry;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&telemetry.log_filter) {
            let message = format!("is no filter ({error}); write for example info, or info,chancery_hsm=debug");
            self.error("telemetry.log_filter", message);
        }
        if let Some(endpoint) = &telemetry.otlp_endpoint {
            match endpoint.parse::<http::Uri>() {
                Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => {}
                _ => {
                    let message = "is not of the form http://host:port; run the collector (or its agent) on this machine, \
                                   as TLS to a collector is not offered";
                    self.error("telemetry.otlp_endpoint", message);
                }
            }
        }
    }

    fn duplicates<'a>(&mut self, what: &str, ids: impl Iterator<Item = &'a Id>) {
        let mut seen = BTreeSet::new();
        for id in ids {
            if !seen.insert(id) {
                self.error(format!("{what}.{id}"), format!("the id {id:?} is given twice; rename one of them"));
            }
        }
    }

    pub(super) fn readable(&mut self, field: &str, path: &Path) {
        self.file(field, path);
    }

    /// A file that holds a secret: this user's alone.
    fn secret(&mut self, field: &str, path: &Path) {
        let Some(metadata) = self.file(field, path) else { return };
        let mode = metadata.permissions().mode() & 0o777;
        if chancery_hsm::others_can_use(path, mode) {
            let shown = path.display();
            let message = format!("{shown} is open to other users (mode {mode:03o}); run: chmod 600 {shown}");
            self.error(field, message);
        }
        if metadata.len() == 0 {
            self.error(field, format!("{} is empty", path.display()));
        }
    }

    pub(super) fn file(&mut self, field: &str, path: &Path) -> Option<Metadata> {
        let shown = path.display();
        // Opened, not only looked at: the service will have to.
        match std::fs::File::open(path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => return Some(metadata),
            Ok(_) => self.error(field, format!("{shown} is not a file; name one")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_of_another_unit(path) => {
                let message =
                    format!("{shown} is a credential, which systemd passes to the running unit: not looked at here");
                self.warning(field, message);
            }
            Err(error) => {
                let message = format!("{shown} cannot be read ({error}); correct the path or the file's rights");
                self.error(field, message);
            }
        }
        None
    }
}

/// Whether this is a credential of a systemd unit, and we are not that unit's process.
fn is_of_another_unit(path: &Path) -> bool {
    let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    path.starts_with("/run/credentials") && own.is_none_or(|folder| !path.starts_with(folder))
}

/// Whether certificates of such an authority carry such an identity.
pub(super) fn names(kind: IdentityKind, identity: &Identity) -> bool {
    match identity {
        Identity::SpiffeId(_) => kind == IdentityKind::Spiffe,
        Identity::DnsName(_) => kind == IdentityKind::Dns,
        Identity::Oidc { .. } => false,
    }
}

fn list<'a>(ids: impl Iterator<Item = &'a Id>) -> String {
    let ids: Vec<&str> = ids.map(Id::as_str).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

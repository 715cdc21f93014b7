//! What a service can be started with and had better not be: warnings only.

use super::check::Report;
use super::{Caller, Config, KeyRing, mounts};
use crate::tls;
use chancery_model::{Id, Role};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

/// Environments whose keys may be lost or copied without harm.
pub(super) const FOR_TRIALS: [&str; 4] = ["dev", "development", "test", "ci"];

/// File systems that are empty after the machine was restarted.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// File systems whose locks and shared memory SQLite cannot rely on.
const OVER_THE_NETWORK: [&str; 5] = ["nfs", "nfs4", "cifs", "smb3", "9p"];

/// Words in the name of a variable whose value is probably a secret.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "PASSWD", "SECRET", "PIN", "TOKEN"];

/// Roles that administer, and so never sign: built in, whatever policy says.
const ADMINISTRATORS: [Role; 3] = [Role::KeyAdministrator, Role::PolicyAdministrator, Role::CallerAdministrator];

impl Report {
    /// Everything below.
    pub(super) fn weaknesses(&mut self, config: &Config) {
        self.who_can_write(config);
        self.certificate(config);
        self.places(config);
        self.environments(config);
        self.copies(config);
        self.worker_secrets(config);
        self.governance(config);
        self.watching(config);
    }

    /// Files that decide who may sign, or that see every PIN.
    fn who_can_write(&mut self, config: &Config) {
        let message = "decides who may sign, and others than its owner can write it";
        self.not_writable("configuration", &config.path, message);
        for token in &config.tokens {
            let message = "is code that sees the PIN, and others than its owner can write it";
            self.not_writable(&format!("token.{}.module", token.id), &token.module, message);
        }
    }

    fn not_writable(&mut self, field: &str, path: &Path, message: &str) {
        if mode(path).is_some_and(|mode| mode & 0o022 != 0) {
            let shown = path.display();
            self.warning(field, format!("{shown} {message}; run: chmod go-w {shown}"));
        }
    }

    fn certificate(&mut self, config: &Config) {
        // One that cannot be read has been spoken of.
        let Ok((from, until)) = tls::validity(&config.listener.certificate) else { return };
        let field = "listener.certificate";
        let now = SystemTime::now();
        let Ok(left) = until.duration_since(now) else {
            let message = "has expired, so no caller will connect; put a new one there, with its key";
            return self.warning(field, message);
        };
        if from > now {
            return self
                .warning(field, "is not valid yet, so no caller will connect; check the clock and the certificate");
        }
        // A share of its life and not a number of days: where certificates live for hours, a machine replaces them.
        if until.duration_since(from).is_ok_and(|life| left < life / 10) {
            let hours = left.as_secs() / 3600;
            let message =
                format!("expires in {hours} hours, the last tenth of its life; put a new one there, with its key");
            self.warning(field, message);
        }
    }

    /// State and record outlive the machine's restart, and so do the marks of refused PINs.
    fn places(&mut self, config: &Config) {
        let store = &config.store.path;
        if let Some(kind) = mounts::file_system(store) {
            let shown = store.display();
            if IN_MEMORY.contains(&kind.as_str()) {
                let message =
                    format!("{shown} is on {kind}: keys' states and the record are lost when the machine restarts");
                self.warning("store.path", message);
            } else if OVER_THE_NETWORK.contains(&kind.as_str()) {
                let message =
                    format!("{shown} is on {kind}, where SQLite's locks cannot be relied on; use a local disk");
                self.warning("store.path", message);
            }
        }
        let locks = &config.hsm.lock_dir;
        if mounts::file_system(locks).is_some_and(|kind| IN_MEMORY.contains(&kind.as_str())) {
            let message = format!(
                "{} is in memory: after the machine restarted, a PIN that the token refused would be tried again, which can \
                 lock the token",
                locks.display()
            );
            self.warning("hsm.lock_dir", message);
        }
    }

    fn environments(&mut self, config: &Config) {
        for token in &config.tokens {
            let rings = config.key_rings.iter().filter(|ring| ring.token == token.id);
            let environments: BTreeSet<&Id> = rings.map(|ring| &ring.environment).collect();
            let in_files = token.module.file_name().is_some_and(|name| name.to_string_lossy().contains("softhsm"));
            if let Some(serious) = environments.iter().find(|name| in_files && !FOR_TRIALS.contains(&name.as_str())) {
                let message = format!(
                    "is SoftHSM, which keeps keys in files, and holds keys of the environment {serious:?}; use a hardware token"
                );
                self.warning(format!("token.{}.module", token.id), message);
            }
            if let [one, other, ..] = environments.iter().collect::<Vec<_>>().as_slice() {
                let message = format!(
                    "keys of {one:?} and of {other:?} are on one token, behind one PIN; give each environment its own token"
                );
                self.warning(format!("token.{}", token.id), message);
            }
        }
    }

    /// A key of which there may be a copy protects nothing that matters, whatever the token does with its own.
    fn copies(&mut self, config: &Config) {
        let serious = |ring: &&KeyRing| ring.allow_extractable && !FOR_TRIALS.contains(&ring.environment.as_str());
        for ring in config.key_rings.iter().filter(serious) {
            let message = format!(
                "lets keys of the environment {:?} be adopted of which a copy may be outside the token; take it away when \
                 those that have to be are adopted",
                ring.environment
            );
            self.warning(format!("key_ring.{}.allow_extractable", ring.id), message);
        }
    }

    /// Modules take passwords by their environment; then the file is a secret itself.
    fn worker_secrets(&mut self, config: &Config) {
        if mode(&config.path).is_none_or(|mode| mode & 0o044 == 0) {
            return;
        }
        for token in &config.tokens {
            if let Some(name) = token.environment.0.keys().find(|name| looks_secret(name)) {
                let message = format!(
                    "{name} looks like a secret, and others can read this file; move it into the module's own configuration, \
                     or run: chmod go-r {}",
                    config.path.display()
                );
                self.warning(format!("token.{}.environment", token.id), message);
            }
        }
    }

    fn governance(&mut self, config: &Config) {
        let has = |caller: &Caller, roles: &[Role]| roles.iter().any(|role| caller.roles.contains(role));
        // Own policies may say it otherwise, so only the shipped ones are spoken of.
        let nobody = |role| !config.callers.iter().any(|caller| has(caller, &[role]));
        if config.policy.first.is_empty() && !config.callers.is_empty() {
            if nobody(Role::PolicyAdministrator) {
                let message = "nobody has the role policy-administrator, so nobody could ever change policy, and an empty \
                               store is not started with; give it to one caller";
                self.warning("caller", message);
            } else if nobody(Role::CallerAdministrator) {
                let message = "nobody has the role caller-administrator, and an empty store begins with these callers: \
                               another could be registered only after a change of policy; give it to one caller";
                self.warning("caller", message);
            }
        }
        for caller in &config.callers {
            if has(caller, &[Role::Signer]) && has(caller, &ADMINISTRATORS) {
                let message = "has the role signer beside one that administers, and whoever administers never signs; \
                               register two callers";
                self.warning(format!("caller.{}.roles", caller.id), message);
            }
        }
    }

    fn watching(&mut self, config: &Config) {
        if config.admin.is_none() && config.telemetry.otlp_endpoint.is_none() {
            let message =
                "there is neither an [admin] address nor an otlp_endpoint, so nobody sees metrics; add one of them";
            self.warning("telemetry", message);
        }
    }
}

/// Whether the value of such a variable is probably a secret; each word of the name counts, so that SHIPPING is none.
#[must_use]
pub fn looks_secret(variable: &str) -> bool {
    let upper = variable.to_ascii_uppercase();
    upper.split(|character: char| !character.is_ascii_alphanumeric()).any(|word| SECRET_WORDS.contains(&word))
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode())
}

//! The configuration: one TOML file, nested as the house is, parsed strictly.
//!
//! In scope: the shape of the file, its defaults, and what can be said about it before anything is started
//! ([`Config::check`]). Out of scope: acting on it (`serve`). [`load`] reads one file and has no other effect; unknown
//! fields are refused, so that a misspelt limit is not a limit that is silently not there. `docs/configuration.md`
//! describes every field for operators.

mod api_keys;
mod caller;
mod caller_signatures;
mod check;
mod check_limits;
mod check_log;
mod check_oidc;
mod error;
mod limits;
mod listener;
mod log;
mod mounts;
mod oidc;
mod parse;
mod retention;
mod telemetry;
mod token;
mod uses;
mod weak;

pub use api_keys::ApiKeys;
pub use caller::Caller;
pub use caller_signatures::CallerSignatures;
pub use check::{Finding, Severity};
pub use error::{ConfigError, ConfigErrors};
pub use limits::Limits;
pub use listener::{Admin, ClientAuth, ClientCa, IdentityKind, Listener};
pub use log::{Archive, Log, Witness};
pub use oidc::{Oidc, RequiredValue};
pub use parse::parse_identity;
pub use retention::Retention;
pub use telemetry::{LogFormat, Telemetry};
pub use token::{Environment, Hsm, KeyRing, SystemRing, Token};
pub use uses::UseLimits;
pub use weak::looks_secret;

use chancery_hsm::PinSource;
use chancery_model::Id;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The whole configuration of one instance. All paths are resolved against the folder of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the configuration was read from.
    #[serde(skip)]
    pub path: PathBuf,
    /// Names this instance in the record. At the next start it closes the intents that it left open under this name, so
    /// it stays the same across restarts, and two instances on one store have different ones.
    #[serde(deserialize_with = "parse::id")]
    pub instance: Id,
    /// Where callers connect.
    pub listener: Listener,
    /// Where operators' machines look: metrics and probes. No admin address where the section is absent.
    pub admin: Option<Admin>,
    /// Where state and record are kept.
    pub store: Store,
    /// The first policy set.
    #[serde(default)]
    pub policy: Policy,
    /// What all tokens share.
    pub hsm: Hsm,
    /// The PKCS#11 tokens.
    #[serde(rename = "token", default)]
    pub tokens: Vec<Token>,
    /// The key rings.
    #[serde(rename = "key_ring", default)]
    pub key_rings: Vec<KeyRing>,
    /// The ring of the service's own secrets.
    pub system_ring: Option<SystemRing>,
    /// How the log is signed.
    #[serde(default)]
    pub log: Log,
    /// How long details of records are kept.
    #[serde(default)]
    pub retention: Retention,
    /// How long API keys may live.
    #[serde(default)]
    pub api_keys: ApiKeys,
    /// Callers' own signatures of their requests; none are taken where the section is absent.
    pub caller_signatures: Option<CallerSignatures>,
    /// How fast callers go.
    #[serde(default)]
    pub limits: UseLimits,
    /// The callers with which an empty store begins.
    #[serde(rename = "caller", default)]
    pub callers: Vec<Caller>,
    /// Logs, traces and metrics.
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// Where state and record are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The SQLite database file; made where there is none. Its folder must exist.
    pub path: PathBuf,
    /// Where the anchor is kept, which says how far the database had come; beside the database where it is absent.
    pub anchor: Option<PathBuf>,
    /// Whether the state is held to a seal, which needs a system ring.
    #[serde(default = "yes")]
    pub state_root: bool,
}

impl Store {
    /// Where the anchor is kept.
    #[must_use]
    pub fn anchor(&self) -> PathBuf {
        self.anchor.clone().unwrap_or_else(|| {
            let mut path = self.path.as_os_str().to_owned();
            path.push(".anchor");
            path.into()
        })
    }
}

const fn yes() -> bool {
    true
}

/// The policy set that an empty store begins with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Files of Cedar policies, applied and recorded only where the store holds no policy set yet. Empty: the roles that
    /// ship with Chancery. Later changes go through `chancery policy apply`.
    #[serde(default)]
    pub first: Vec<PathBuf>,
}

/// Reads and parses a configuration file. Nothing else is opened, and nothing is changed.
///
/// # Errors
/// [`ConfigErrors`]: the file cannot be read, is no TOML, or a field is missing, unknown or malformed; with file, line
/// and field.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigErrors::unreadable(path, source))?;
    let mut config: Config = toml::from_str(&text).map_err(|error| ConfigErrors::malformed(path, &text, error))?;
    config.path = path.to_owned();
    config.resolve_paths(path.parent().unwrap_or(Path::new("")));
    Ok(config)
}

impl Config {
    /// Makes relative paths relative to the configuration's folder; `join` leaves absolute ones as they are.
    fn resolve_paths(&mut self, folder: &Path) {
        let Self {
            path: _,
            instance: _,
            listener,
            admin: _,
            store,
            policy,
            hsm,
            tokens,
            key_rings: _,
            system_ring: _,
            log,
            retention: _,
            api_keys: _,
            caller_signatures: _,
            limits: _,
            callers: _,
            telemetry: _,
        } = self;
        let authorities = listener
            .client_cas
            .iter_mut()
            .flat_map(|authority| [Some(&mut authority.certificate), authority.crl.as_mut()]);
        let issuers = listener.oidc.iter_mut().flat_map(|oidc| {
            [oidc.jwks_file.as_mut(), oidc.jwks_ca.as_mut(), oidc.jwks_token_file.as_mut()].into_iter().flatten()
        });
        let tokens = tokens.iter_mut().flat_map(|token| {
            let pin_file = match &mut token.pin {
                PinSource::File(path) => Some(path),
                PinSource::Credential(_) | PinSource::Descriptor(_) | PinSource::Terminal => None,
            };
            [Some(&mut token.module), pin_file].into_iter().flatten()
        });
        [&mut listener.certificate, &mut listener.private_key, &mut store.path, &mut hsm.lock_dir]
            .into_iter()
            .chain(authorities.flatten())
            .chain(issuers)
            .chain(policy.first.iter_mut())
            .chain(store.anchor.iter_mut())
            .chain(log.archive.iter_mut().map(|archive| &mut archive.dir))
            .chain(log.witnesses.iter_mut().filter_map(|witness| witness.ca.as_mut()))
            .chain(tokens)
            .for_each(|path| *path = folder.join(&*path));
    }
}

#[cfg(test)]
mod tests;

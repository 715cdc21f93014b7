//! `[hsm]`, `[[token]]` and `[[key_ring]]`: where keys live.

use super::parse;
use chancery_hsm::PinSource;
use chancery_model::Id;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// What all tokens share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsm {
    /// Folder of the lock files that keep two processes off one token; made where there is none. Every Chancery process
    /// on this machine that may open one of these tokens needs the same one.
    pub lock_dir: PathBuf,
}

/// A PKCS#11 token, served by a worker process of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "WrittenToken")]
pub struct Token {
    /// The token's name in Chancery: `tokens/{id}`. Keep it: key rings refer to it.
    pub id: Id,
    /// The PKCS#11 module (shared library) that reaches the token.
    pub module: PathBuf,
    /// The token's label. A token is found by label and serial, never by slot number.
    pub label: String,
    /// The token's serial number; needed where two tokens have the same label.
    pub serial: Option<String>,
    /// Where the user PIN comes from, once, at the start of the service.
    pub pin: PinSource,
    /// Threads that sign, each with its own session. Not given: as many as this machine has processors. More gain nothing
    /// on a token in software, and much on a network HSM.
    pub signing_threads: Option<NonZeroU16>,
    /// A session that is idle for so long is touched, so that neither the device nor a firewall ends it: less than what they
    /// allow.
    pub keepalive: Duration,
    /// Resident memory of the worker process in bytes, above which it is replaced once it has answered what it has; at least
    /// 32 MiB. The kernel refuses it four times as much.
    pub max_worker_memory_bytes: u64,
    /// Calls that may wait for a signing thread; one more is refused.
    pub queue_limit: NonZeroUsize,
    /// Environment variables of the worker process, for modules that are configured by them. Passed as they are.
    pub environment: Environment,
}

/// A token as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenToken {
    #[serde(deserialize_with = "parse::id")]
    id: Id,
    module: PathBuf,
    label: String,
    serial: Option<String>,
    /// File with the user PIN, readable by this user alone. One line break at its end is not part of the PIN.
    pin_file: Option<PathBuf>,
    /// Name of a credential that systemd passes to the unit.
    pin_credential: Option<String>,
    /// Number of a descriptor that the service inherits.
    pin_descriptor: Option<u32>,
    /// The PIN is typed at the terminal.
    #[serde(default)]
    pin_prompt: bool,
    signing_threads: Option<NonZeroU16>,
    /// Default 10 s.
    #[serde(default = "default_keepalive", rename = "keepalive_seconds", deserialize_with = "parse::seconds")]
    keepalive: Duration,
    /// Default 1 GiB.
    #[serde(default = "default_max_worker_memory_bytes")]
    max_worker_memory_bytes: u64,
    /// Default 1024.
    #[serde(default = "default_queue_limit")]
    queue_limit: NonZeroUsize,
    #[serde(default)]
    environment: Environment,
}

impl TryFrom<WrittenToken> for Token {
    type Error = String;

    fn try_from(written: WrittenToken) -> Result<Self, String> {
        let WrittenToken {
            id,
            module,
            label,
            serial,
            pin_file,
            pin_credential,
            pin_descriptor,
            pin_prompt,
            signing_threads,
            keepalive,
            max_worker_memory_bytes,
            queue_limit,
            environment,
        } = written;
        let pin = match (pin_file, pin_credential, pin_descriptor, pin_prompt) {
            (Some(file), None, None, false) => PinSource::File(file),
            (None, Some(credential), None, false) => PinSource::Credential(credential),
            (None, None, Some(descriptor), false) => PinSource::Descriptor(descriptor),
            (None, None, None, true) => PinSource::Terminal,
            (None, None, None, false) => {
                return Err(format!(
                    "token {id:?} does not say where its PIN comes from; give one of pin_file, pin_credential, \
                     pin_descriptor and pin_prompt = true"
                ));
            }
            _ => {
                return Err(format!(
                    "token {id:?} has several sources of its PIN; keep one of pin_file, pin_credential, pin_descriptor and \
                     pin_prompt"
                ));
            }
        };
        Ok(Self {
            id,
            module,
            label,
            serial,
            pin,
            signing_threads,
            keepalive,
            max_worker_memory_bytes,
            queue_limit,
            environment,
        })
    }
}

/// Environment variables; their values are not shown, since modules take passwords this way.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Environment(pub BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A named set of keys on one token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    /// The ring's name: `keyRings/{id}`.
    #[serde(deserialize_with = "parse::id")]
    pub id: Id,
    /// The id of the token that holds the keys. Keep it: keys do not move.
    #[serde(deserialize_with = "parse::id")]
    pub token: Id,
    /// The environment, for example `dev` or `prod`. A caller of one environment never uses a key of another.
    #[serde(deserialize_with = "parse::id")]
    pub environment: Id,
    /// Whether AdoptKey takes keys of which a copy may be outside the token; they stay marked. Default: no.
    #[serde(default)]
    pub allow_extractable: bool,
}

const fn default_keepalive() -> Duration {
    Duration::from_secs(10)
}

const fn default_max_worker_memory_bytes() -> u64 {
    1 << 30
}

fn default_queue_limit() -> NonZeroUsize {
    NonZeroUsize::new(1024).unwrap_or(NonZeroUsize::MIN)
}

/// `[system_ring]`: where the service keeps its own secrets, out of callers' reach.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemRing {
    /// The id of the token that holds them. They do not move: keep it.
    #[serde(deserialize_with = "parse::id")]
    pub token: Id,
}

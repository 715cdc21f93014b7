//! From a configuration to a core that is ready: tokens, then the store, then the record, then the core itself.

use crate::config::{self, Config};
use crate::metrics::Metrics;
use chancery_audit::{Log, LogSettings};
use chancery_core::{Assembly, CallerDeclaration, Chancery, Clock, Limits, Ring};
use chancery_hsm::{HsmError, PinError, Token, TokenSettings, WorkerCommand};
use chancery_model::{Id, RingName};
use chancery_policy::{PolicyDocument, PolicySet};
use chancery_store::{OpenError, Reader, Writer};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinError;

/// Why the parts cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// The folder of the tokens' locks cannot be made.
    #[error("hsm.lock_dir: the folder {path} cannot be made; make it, or name another")]
    LockDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A PIN was not taken.
    #[error("the PIN of token {token}: {source}")]
    Pin {
        /// The token.
        token: Id,
        /// Why.
        #[source]
        source: PinError,
    },
    /// A token could not be taken.
    #[error("token.{token}: {source}")]
    Token {
        /// The token.
        token: Id,
        /// Why.
        #[source]
        source: HsmError,
    },
    /// There is no token to check the state with.
    #[error(
        "the configuration has no [system_ring] with a token of its own, and the state is sealed and checked with one; add it"
    )]
    NoSystemRing,
    /// The database could not be opened.
    #[error("store.path: {0}")]
    Store(#[from] chancery_store::OpenError),
    /// The record could not be started.
    #[error("the record could not be started: {0}")]
    Record(#[from] chancery_audit::StartError),
    /// A document of the first policy set cannot be read.
    #[error("policy.first: {path} cannot be read as UTF-8 text; correct the file, its rights or its path")]
    Policy {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The core refused to start.
    #[error(transparent)]
    Core(#[from] chancery_core::StartError),
    /// A part panicked while it was being set up.
    #[error("a part panicked while it was being set up; the log says where")]
    Panicked(#[from] JoinError),
}

/// The core, and the tokens by id for those who watch them.
pub(crate) struct Parts {
    pub(crate) core: Chancery,
    pub(crate) tokens: BTreeMap<Id, Token>,
}

/// Brings everything up. On an error everything that was brought up is let go again, in order.
pub(crate) async fn assemble(
    config: &Config,
    worker: &WorkerCommand,
    metrics: &Metrics,
) -> Result<Parts, AssemblyError> {
    let mut tokens = BTreeMap::new();
    let result = async {
        start_tokens(config, worker, &mut tokens).await?;
        start_core(config, tokens.clone(), metrics).await
    }
    .await;
    match result {
        Ok(core) => Ok(Parts { core, tokens }),
        Err(error) => {
            for token in tokens.values() {
                token.shutdown().await;
            }
            Err(error)
        }
    }
}

/// Takes one token alone, and waits until it serves: for what is done while the service does not run.
pub(crate) async fn start_token(config: &Config, worker: &WorkerCommand, id: &Id) -> Result<Token, AssemblyError> {
    let lock_dir = &config.hsm.lock_dir;
    make_private_folder(lock_dir).map_err(|source| AssemblyError::LockDir { path: lock_dir.clone(), source })?;
    let token = config.tokens.iter().find(|token| token.id == *id);
    let token = token.ok_or_else(|| AssemblyError::NoSystemRing)?;
    let taken = Token::start(token_settings(token, lock_dir)?, worker.clone()).await;
    taken.map_err(|source| AssemblyError::Token { token: id.clone(), source })
}

/// One after the other: modules that are initialised by many processes at the same moment may see no token.
async fn start_tokens(
    config: &Config,
    worker: &WorkerCommand,
    started: &mut BTreeMap<Id, Token>,
) -> Result<(), AssemblyError> {
    let lock_dir = &config.hsm.lock_dir;
    make_private_folder(lock_dir).map_err(|source| AssemblyError::LockDir { path: lock_dir.clone(), source })?;
    for token in &config.tokens {
        let settings = token_settings(token, lock_dir)?;
        tracing::info!(token = %token.id, label = token.label, "starting the token's worker");
        // One that is away does not keep the others from serving: it says so in its health, and comes when it comes.
        let taken = Token::hold(settings, worker.clone()).await;
        let taken = taken.map_err(|source| AssemblyError::Token { token: token.id.clone(), source })?;
        started.insert(token.id.clone(), taken);
    }
    Ok(())
}

fn token_settings(token: &config::Token, lock_dir: &Path) -> Result<TokenSettings, AssemblyError> {
    let config::Token {
        id,
        module,
        label,
        serial,
        pin: source,
        signing_threads,
        keepalive,
        max_worker_memory_bytes,
        queue_limit,
        environment,
    } = token;
    let question = format!("User PIN of token {id} ({label:?})");
    let pin = source.read(&question).map_err(|source| AssemblyError::Pin { token: id.clone(), source })?;
    let signing_threads = match signing_threads {
        Some(threads) => usize::from(threads.get()),
        None => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
    };
    Ok(TokenSettings {
        id: id.clone(),
        module: module.clone(),
        label: label.clone(),
        serial: serial.clone(),
        pin,
        pin_file: source.file(),
        module_environment: environment.0.clone(),
        lock_dir: lock_dir.to_owned(),
        signing_threads,
        keepalive: *keepalive,
        max_worker_memory_bytes: *max_worker_memory_bytes,
        queue_limit: queue_limit.get(),
    })
}

/// Opens the configuration's database, with its archive.
pub(crate) async fn open_store(config: &Config) -> Result<Result<(Writer, Reader), OpenError>, JoinError> {
    let (path, archive) = (config.store.path.clone(), config.log.archive.clone());
    let opened = move || {
        let (writer, reader) = chancery_store::open(&path)?;
        let reader = match archive {
            Some(archive) => reader.with_archive(Arc::new(archive.leaves())),
            None => reader,
        };
        Ok((writer, reader))
    };
    tokio::task::spawn_blocking(opened).await
}

async fn start_core(
    config: &Config,
    tokens: BTreeMap<Id, Token>,
    metrics: &Metrics,
) -> Result<Chancery, AssemblyError> {
    let (writer, reader) = open_store(config).await??;
    let anchor = config.store.state_root.then(|| config.store.anchor());
    let settings = LogSettings {
        observer: Some(metrics.group_observer()),
        anchor: anchor.clone(),
        ..LogSettings::new(config.instance.clone())
    };
    let log = Log::start(writer, settings)?;
    let assembly = Assembly {
        instance: config.instance.clone(),
        rings: config.key_rings.iter().map(ring).collect(),
        tokens,
        callers: config.callers.iter().map(caller).collect(),
        system_ring: config.system_ring.as_ref().map(|ring| ring.token.clone()),
        anchor,
        checkpoints: config.log.settings(&config.instance),
        retention: config.retention.settings(),
        archive: config.log.archive.as_ref().map(config::Archive::settings),
        api_keys: config.api_keys.settings(),
        first_policy_set: first_policy_set(&config.policy.first)?,
        log,
        reader,
        limits: Limits {
            caller_rate: config.limits.rate(),
            max_receipt_bytes: config.listener.limits.receipt_bytes(),
            ..Limits::default()
        },
        observer: metrics.observer(),
        clock: Clock::system(),
        audience: config.caller_signatures.as_ref().map(|signatures| signatures.audience.clone()),
    };
    Ok(Chancery::start(assembly).await?)
}

fn ring(ring: &config::KeyRing) -> Ring {
    let config::KeyRing { id, token, environment, allow_extractable } = ring.clone();
    Ring { name: RingName { ring: id }, environment, token, allow_extractable }
}

pub(crate) fn caller(caller: &config::Caller) -> CallerDeclaration {
    let config::Caller { id, environment, identities, groups, roles, key_rings, attributes, required_factors } =
        caller.clone();
    CallerDeclaration { id, environment, identities, groups, roles, rings: key_rings, attributes, required_factors }
}

/// The documents of the files, each under its file's name; the shipped roles where there are none.
fn first_policy_set(files: &[PathBuf]) -> Result<Vec<PolicyDocument>, AssemblyError> {
    if files.is_empty() {
        return Ok(PolicySet::shipped().documents().to_vec());
    }
    let document = |path: &PathBuf| {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| AssemblyError::Policy { path: path.clone(), source })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(PolicyDocument { name, text })
    };
    files.iter().map(document).collect()
}

/// A folder that only this user can use.
fn make_private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_files_the_shipped_roles_come_first() {
        let documents = first_policy_set(&[]).unwrap();
        assert_eq!(documents.iter().map(|document| document.name.as_str()).collect::<Vec<_>>(), ["roles.cedar"]);
    }

    #[test]
    fn documents_are_named_as_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.cedar");
        std::fs::write(&path, "// none yet").unwrap();
        let documents = first_policy_set(std::slice::from_ref(&path)).unwrap();
        assert_eq!(documents, [PolicyDocument { name: "own.cedar".to_owned(), text: "// none yet".to_owned() }]);
        std::fs::remove_file(&path).unwrap();
        let error = first_policy_set(std::slice::from_ref(&path)).unwrap_err();
        assert!(error.to_string().contains("own.cedar"), "{error}");
    }
}

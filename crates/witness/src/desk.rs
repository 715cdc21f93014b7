//! What the small witness does with a checkpoint: looks at it, remembers it, and cosigns it; in this order.
//!
//! Of each log the newest checkpoint that was cosigned is kept in a file of its own, which is on the disk before the
//! cosignature leaves; and so is the log's origin in a list of those of which there is one, so that a file that is gone is missed.
//! The lock of the log is held from the look at what is kept until what comes after it is kept: of two checkpoints
//! that continue the same one, one finds the other there.

use crate::key::{CosignerKey, KeyError};
use chancery_audit::Hex;
use chancery_audit::checkpoint::{CheckpointError, SignedCheckpoint};
use chancery_audit::note::{KeyName, NoteError, SignatureKind, VerifierKey};
use chancery_audit::tree::{EMPTY_ROOT, ProofError, check_consistency};
use chancery_audit::witness::{AddCheckpoint, AddCheckpointError};
use chancery_crypto::sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;

/// A witness's desk: its key, the logs that it knows, and what it has seen of them.
pub struct Desk {
    key: CosignerKey,
    logs: BTreeMap<String, WitnessedLog>,
    /// The origins of which something was cosigned, as the list says them.
    known: Mutex<BTreeSet<String>>,
    /// The list.
    list: PathBuf,
    /// Held as long as it is open: two witnesses with one key would sign two histories.
    _lock: File,
}

struct WitnessedLog {
    keys: Vec<VerifierKey>,
    path: PathBuf,
    /// The newest checkpoint that was cosigned, with the log's signature and ours.
    newest: Mutex<Option<SignedCheckpoint>>,
}

/// Why a witness cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The folder.
    #[error("{path} cannot be made, read or written; correct its rights, or name another folder")]
    Folder {
        /// The folder, or what is in it.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{0} is in use by another witness; stop that one, or name another folder")]
    InUse(PathBuf),
    /// What it has seen is gone.
    #[error(
        "there is a key in {0}, and not the folder \"logs\" with what was seen and the list \"origins\" of what it was seen of: a witness that forgets is worse than none. Put \
         them back; or begin with a new folder, and so with a new key, and tell those who trust the old one"
    )]
    Forgotten(PathBuf),
    /// What it has seen of one log is gone.
    #[error(
        "checkpoints of the log {origin:?} were cosigned, and {path} with the newest of them is gone: a witness that forgets would \
         cosign any fork. Put the file back; or begin with a new folder, and so with a new key, and tell those who trust the old one"
    )]
    ForgottenLog {
        /// The log's origin.
        origin: String,
        /// The file.
        path: PathBuf,
    },
    /// What it has seen cannot be read.
    #[error(
        "{path} is not a checkpoint that this witness cosigned ({why}); put back the file, or the key and name that go with it"
    )]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key that is no log's.
    #[error("{0} is the key of a witness (type 04); a log has one of type 01")]
    NotOfALog(KeyName),
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be read.
    #[error(transparent)]
    Malformed(#[from] AddCheckpointError),
    /// The log is not among those that are witnessed.
    #[error("the log {0:?} is not witnessed here")]
    UnknownLog(String),
    /// The log did not sign it.
    #[error(transparent)]
    NotSigned(CheckpointError),
    /// The old size is above the new one.
    #[error("the old size, {old}, is above the checkpoint's, {size}")]
    Backwards {
        /// The old size.
        old: u64,
        /// The new one.
        size: u64,
    },
    /// The old size is not that of what is kept.
    #[error("the newest checkpoint that was cosigned has the size {0}")]
    Conflict(u64),
    /// A tree without leaves has one root.
    #[error("the root is not that of an empty tree")]
    NotEmpty,
    /// It does not continue what is kept.
    #[error("the log does not continue what was cosigned: {0}")]
    Proof(#[from] ProofError),
    /// It could not be kept, and was not cosigned.
    #[error("the checkpoint could not be kept, and was not cosigned")]
    Keeping(#[source] io::Error),
}

impl Desk {
    /// Makes what is missing in the folder: at the first start, a key. With the desk the folder is locked.
    ///
    /// # Errors
    /// [`DeskError`]: above all, where what was seen is gone or is not what was seen.
    pub fn open(folder: &Path, name: KeyName, log_keys: Vec<VerifierKey>) -> Result<Self, DeskError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DeskError::Folder { path, source }
        };
        let (logs, list) = (folder.join("logs"), folder.join("origins"));
        let key = folder.join("key.pk8");
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        let lock = folder.join("lock");
        let held = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let held = held.map_err(failed(&lock))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DeskError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&lock)(error)),
        }
        let key = match (key.try_exists().map_err(failed(&key))?, logs.is_dir() && list.is_file()) {
            (true, true) => CosignerKey::read(&key, name)?,
            (true, false) => return Err(DeskError::Forgotten(folder.to_owned())),
            (false, _) => {
                // First, so that a key without it has forgotten.
                DirBuilder::new().recursive(true).mode(0o700).create(&logs).map_err(failed(&logs))?;
                write(&list, "").map_err(failed(&list))?;
                CosignerKey::make(&key, name)?
            }
        };
        let mut known = origins(&list)?;
        let mut witnessed: BTreeMap<String, WitnessedLog> = BTreeMap::new();
        for log in log_keys {
            if log.kind() != SignatureKind::Ed25519 {
                return Err(DeskError::NotOfALog(log.name().clone()));
            }
            let origin = log.name().as_str().to_owned();
            if let Some(known) = witnessed.get_mut(&origin) {
                known.keys.push(log);
                continue;
            }
            let path = logs.join(origin_hash(&origin));
            let newest = read(&path, &origin, &key)?;
            if newest.is_none() && known.contains(&origin) {
                return Err(DeskError::ForgottenLog { origin, path });
            }
            // Kept, and not listed yet: it was stopped in between, before the cosignature left.
            if newest.is_some() && known.insert(origin.clone()) {
                write(&list, &listed(&known)).map_err(failed(&list))?;
            }
            let newest = Mutex::new(newest);
            witnessed.insert(origin, WitnessedLog { keys: vec![log], path, newest });
        }
        Ok(Self { key, logs: witnessed, known: Mutex::new(known), list, _lock: held })
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// Looks at a checkpoint, keeps it and cosigns it: the line of the cosignature. What is begun is to be ended: not to be
    /// dropped in the middle.
    ///
    /// # Errors
    /// [`Refusal`]: it is not cosigned.
    pub async fn add_checkpoint(&self, body: &[u8]) -> Result<String, Refusal> {
        let AddCheckpoint { old_size: old, proof, checkpoint } = AddCheckpoint::parse(body)?;
        let origin = checkpoint.unverified().origin();
        let log = self.logs.get(origin).ok_or_else(|| Refusal::UnknownLog(origin.to_owned()))?;
        let new = checkpoint.verify(&log.keys).map_err(Refusal::NotSigned)?.clone();
        let size = new.size();
        if old > size {
            return Err(Refusal::Backwards { old, size });
        }
        let mut newest = log.newest.lock().await;
        let (seen, root) = newest.as_ref().map_or((0, EMPTY_ROOT), |newest| {
            let newest = newest.unverified();
            (newest.size(), *newest.root())
        });
        if old != seen {
            return Err(Refusal::Conflict(seen));
        }
        if size == 0 && *new.root() != EMPTY_ROOT {
            return Err(Refusal::NotEmpty);
        }
        check_consistency(old, &root, size, new.root(), &proof)?;

        // Of the signatures those are kept that were verified.
        let lines: String = checkpoint.note().signatures().iter().map(|line| format!("{line}\n")).collect();
        let not_signed = |error: NoteError| Refusal::NotSigned(error.into());
        let mut cosigned = SignedCheckpoint::unsigned(new).map_err(Refusal::NotSigned)?;
        cosigned.note_mut().add_verified(lines.as_bytes(), &log.keys).map_err(not_signed)?;
        let signer = |text: Vec<u8>| std::future::ready(self.key.sign(&text).ok_or(io::ErrorKind::InvalidData));
        let signed = cosigned.note_mut().cosign(self.key(), seconds(), signer).await;
        signed.map_err(|error| Refusal::Keeping(io::Error::other(error.to_string())))?;
        let line = cosigned.note().signatures().last().map(|line| format!("{line}\n")).unwrap_or_default();
        let (path, text) = (log.path.clone(), cosigned.to_string());
        let kept = tokio::task::spawn_blocking(move || write(&path, &text)).await;
        kept.map_err(io::Error::other).and_then(|kept| kept).map_err(Refusal::Keeping)?;
        self.know(origin).await.map_err(Refusal::Keeping)?;
        *newest = Some(cosigned);
        Ok(line)
    }

    /// Has an origin on the list, of which a checkpoint is kept.
    async fn know(&self, origin: &str) -> io::Result<()> {
        let mut known = self.known.lock().await;
        if known.contains(origin) {
            return Ok(());
        }
        let mut more = known.clone();
        more.insert(origin.to_owned());
        let (path, text) = (self.list.clone(), listed(&more));
        tokio::task::spawn_blocking(move || write(&path, &text)).await.map_err(io::Error::other)??;
        *known = more;
        Ok(())
    }

    /// The newest checkpoint that was cosigned of the log whose origin has this hash, in lower-case hexadecimal digits.
    pub async fn newest(&self, hash: &str) -> Option<String> {
        let (_, log) = self.logs.iter().find(|(origin, _)| origin_hash(origin) == hash)?;
        log.newest.lock().await.as_ref().map(ToString::to_string)
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn origin_hash(origin: &str) -> String {
    Hex::from(sha256(origin.as_bytes())).to_string()
}

/// The origins on the list, one a line: names of keys, which have no spaces.
fn origins(list: &Path) -> Result<BTreeSet<String>, DeskError> {
    let text = std::fs::read_to_string(list).map_err(|source| DeskError::Folder { path: list.to_owned(), source })?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn listed(origins: &BTreeSet<String>) -> String {
    origins.iter().map(|origin| format!("{origin}\n")).collect()
}

/// What was kept of a log. It has our own cosignature: a key or name that is another would forget it.
fn read(path: &Path, origin: &str, key: &CosignerKey) -> Result<Option<SignedCheckpoint>, DeskError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DeskError::Folder { path: path.to_owned(), source }),
    };
    let kept = |why: String| DeskError::Kept { path: path.to_owned(), why };
    let checkpoint = SignedCheckpoint::parse(&bytes).map_err(|error| kept(error.to_string()))?;
    let ours = checkpoint.cosignatures(std::slice::from_ref(key.verifier()));
    if ours.map_err(|error| kept(error.to_string()))?.is_empty() {
        return Err(kept("it has no cosignature of this key by this name".to_owned()));
    }
    if checkpoint.unverified().origin() != origin {
        return Err(kept(format!("it is of the log {:?}", checkpoint.unverified().origin())));
    }
    Ok(Some(checkpoint))
}

/// Puts it in the place of the one before, all of it or nothing, and on the disk.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    sync_folder(path)
}

/// What was put into the folder of `path`, or renamed there, is on the disk.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

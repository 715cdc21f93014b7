//! Backups of the database: a copy, and a manifest that says what it is and by what it is checked.
//!
//! Keys are no part of it: they never leave their token, which is backed up by its vendor's means. The manifest names the
//! tokens that belong to it. There is no anchor in it: a database that is restored is to be noticed, and accepted.

use crate::config::Config;
use chancery_audit::Hex;
use chancery_crypto::sha256_of;
use chancery_model::Timestamp;
use chancery_store::{BackupError, Standing, back_up, check_pages, standing};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
const DATABASE: &str = "chancery.db";
const MANIFEST: &str = "manifest.json";

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this text.
    pub format: u32,
    /// The version of Chancery that made it.
    pub chancery: String,
    /// When, in microseconds since 1970-01-01T00:00:00Z.
    pub made_unix_micros: i64,
    /// The file of the copy.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// Which database it is a copy of.
    pub database_id: String,
    /// The state's epoch.
    pub epoch: u64,
    /// The index that the next record would have had.
    pub next_index: u64,
    /// The state root, where the state was sealed.
    pub state_root: Option<String>,
    /// The tokens of the configuration, which hold the keys.
    pub tokens: Vec<ManifestToken>,
}

/// A token that belongs to a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestToken {
    /// Its id in the configuration.
    pub id: String,
    /// Its label.
    pub label: String,
    /// Its serial number, where the configuration names it.
    pub serial: Option<String>,
    /// Whether it holds the service's own secrets.
    pub system_ring: bool,
}

/// Why there is no backup, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be copied or looked at.
    #[error(transparent)]
    Database(#[from] BackupError),
    /// A file failed.
    #[error("cannot {doing} {path}")]
    File {
        /// A verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The manifest is none.
    #[error("{path} is not the manifest of a backup that this version knows: {why}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The copy is not the one of the manifest.
    #[error("the backup {folder} is damaged: {what}; use another one")]
    Damaged {
        /// The backup.
        folder: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// There is a database already.
    #[error("{path} is there already; move it away first, with its -wal and -shm files, and keep it")]
    Occupied {
        /// The database.
        path: PathBuf,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { doing, path: path.to_owned(), source }
}

/// Copies the database of a configuration into a folder, which is made. The service may run.
///
/// # Errors
/// [`Error`]; what there is in the folder then is no backup: the manifest comes last.
pub fn create(config: &Config, folder: &Path) -> Result<Manifest, Error> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make", folder))?;
    let manifest_path = folder.join(MANIFEST);
    if manifest_path.exists() {
        return Err(BackupError::Exists { path: manifest_path }.into());
    }
    let copy = folder.join(DATABASE);
    let Standing { database, epoch, next_index, seal, .. } = back_up(&config.store.path, &copy)?;
    let (bytes, sha256) = measure(&copy)?;
    let system = config.system_ring.as_ref().map(|ring| &ring.token);
    let tokens = config.tokens.iter().map(|token| ManifestToken {
        id: token.id.to_string(),
        label: token.label.clone(),
        serial: token.serial.clone(),
        system_ring: system == Some(&token.id),
    });
    let manifest = Manifest {
        format: FORMAT,
        chancery: env!("CARGO_PKG_VERSION").to_owned(),
        made_unix_micros: Timestamp::now().unix_micros(),
        file: DATABASE.to_owned(),
        bytes,
        sha256,
        database_id: database.to_string(),
        epoch: epoch.get(),
        next_index,
        state_root: seal.map(|seal| Hex::from(seal.root).to_string()),
        tokens: tokens.collect(),
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other);
    text.and_then(|text| write_new(&manifest_path, &text[..])).map_err(failed("write", &manifest_path))?;
    Ok(manifest)
}

/// Checks that a backup is whole: manifest, the copy's hash, its pages, and where it stands.
///
/// # Errors
/// [`Error`]
pub fn verify(folder: &Path) -> Result<Manifest, Error> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read(&path).map_err(failed("read", &path))?;
    let not_one = |why: String| Error::Manifest { path: path.clone(), why };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| not_one(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(not_one(format!("its format is {}", manifest.format)));
    }
    if manifest.file != DATABASE {
        return Err(not_one(format!("its database is called {:?}", manifest.file)));
    }
    let damaged = |what: &str| Error::Damaged { folder: folder.to_owned(), what: what.to_owned() };
    let copy = folder.join(DATABASE);
    if measure(&copy)? != (manifest.bytes, manifest.sha256.clone()) {
        return Err(damaged("length or SHA-256 of the copy is not that of the manifest"));
    }
    check_pages(&copy)?;
    let stands = standing(&copy)?;
    let said = (stands.database.to_string(), stands.epoch.get(), stands.next_index);
    if said != (manifest.database_id.clone(), manifest.epoch, manifest.next_index) || stands.leaves != stands.next_index
    {
        return Err(damaged("it does not stand where its manifest says"));
    }
    Ok(manifest)
}

/// Puts the copy of a backup, once it was checked, in the place of a configuration's database, where there is none. The
/// service refuses it until it was accepted.
///
/// # Errors
/// [`Error`]; nothing is in the database's place then.
pub fn restore(config: &Config, folder: &Path) -> Result<Manifest, Error> {
    let manifest = verify(folder)?;
    let to = &config.store.path;
    let beside = |suffix: &str| {
        let mut path = to.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    };
    // What is left of another database's write-ahead log would be taken for this one's.
    for path in [to.clone(), beside("-wal"), beside("-shm")] {
        if path.exists() {
            return Err(Error::Occupied { path });
        }
    }
    let (copy, new) = (folder.join(DATABASE), beside(".restored"));
    let mut from = File::open(&copy).map_err(failed("read", &copy))?;
    let mut put = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        io::copy(&mut from, &mut file)?;
        file.sync_all()?;
        std::fs::rename(&new, to)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    put().map_err(failed("write", to))?;
    Ok(manifest)
}

fn measure(path: &Path) -> Result<(u64, String), Error> {
    let measured = File::open(path).and_then(|file| Ok((file.metadata()?.len(), sha256_of(file)?)));
    let (bytes, hash) = measured.map_err(failed("read", path))?;
    Ok((bytes, Hex::from(hash).to_string()))
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

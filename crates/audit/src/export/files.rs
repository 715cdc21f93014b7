//! The files of an export.

use super::details::details_path;
use super::error::{ExportError, failed};
use crate::note::VerifierKey;
use crate::tree::{Resource, Tile};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The log's public keys, a line each.
const KEYS: &str = "log-keys";
/// How many bytes of them are read.
const KEYS_LIMIT: u64 = 1 << 20;
/// Checkpoints beside the newest, by their sizes.
const CHECKPOINTS: &str = "checkpoints";
const DETAILS: &str = "details";
/// What a file is called while it is written.
const UNFINISHED: &str = ".unfinished";

/// The folder of an export.
#[derive(Debug, Clone)]
pub struct ExportedLog {
    folder: PathBuf,
}

impl ExportedLog {
    /// The export in a folder.
    ///
    /// # Errors
    /// [`ExportError::None`]: there is none.
    pub fn open(folder: &Path) -> Result<Self, ExportError> {
        let export = Self::at(folder);
        if export.is_published() { Ok(export) } else { Err(ExportError::None { folder: folder.to_owned() }) }
    }

    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log's keys, as the export says them: they show that it is whole, and not that it is the log it is said to be.
    ///
    /// # Errors
    /// [`ExportError`]: there are none to be read.
    pub fn log_keys(&self) -> Result<Vec<VerifierKey>, ExportError> {
        let path = self.folder.join(KEYS);
        let none = || io::Error::from(io::ErrorKind::NotFound);
        let text = self.read_file(KEYS, KEYS_LIMIT)?.ok_or_else(|| failed("open", &path)(none()))?;
        let text = String::from_utf8_lossy(&text);
        let keys: Result<Vec<VerifierKey>, _> = text.lines().map(VerifierKey::parse).collect();
        let keys = keys.map_err(|source| ExportError::Keys { path, source })?;
        if lines(&keys) == text {
            Ok(keys)
        } else {
            Err(self.damaged(format!("{KEYS} is not written as Chancery writes it")))
        }
    }

    pub(super) fn damaged(&self, what: String) -> ExportError {
        ExportError::Damaged { folder: self.folder.clone(), what }
    }

    /// Whether the log's keys are there. That a disk does not say it is another thing than that they are not.
    pub(crate) fn has_log_keys(&self) -> Result<bool, ExportError> {
        let path = self.folder.join(KEYS);
        path.try_exists().map_err(failed("look for", &path))
    }

    /// Writes the log's keys, beside those that are there already: what is kept may be signed by them.
    pub(super) fn add_log_keys(&self, keys: &[VerifierKey]) -> Result<(), ExportError> {
        // Before anything was published, whatever is there is of a run that was interrupted.
        let published = self.is_published() && self.has_log_keys()?;
        let mut all = if published { self.log_keys()? } else { Vec::new() };
        all.extend(keys.iter().filter(|key| !all.contains(key)).cloned().collect::<Vec<_>>());
        self.write(KEYS, lines(&all).as_bytes())
    }

    pub(crate) fn is_published(&self) -> bool {
        self.folder.join(Resource::Checkpoint.to_string()).is_file()
    }

    /// Whether checkpoints are kept beside the newest.
    pub(super) fn keeps_checkpoints(&self) -> bool {
        self.folder.join(CHECKPOINTS).is_dir()
    }

    pub(crate) fn has_details(&self) -> bool {
        self.folder.join(DETAILS).is_dir()
    }

    pub(super) fn make_details(&self) -> Result<(), ExportError> {
        let path = self.folder.join(DETAILS);
        fs::create_dir_all(&path).map_err(failed("make", &path))
    }

    /// A resource; `None` where it is not there. A file longer than `limit` is cut just behind it.
    pub(crate) fn read(&self, resource: Resource, limit: u64) -> Result<Option<Vec<u8>>, ExportError> {
        self.read_file(&resource.to_string(), limit)
    }

    /// The details of a bundle; `None` where they are not there.
    pub(crate) fn read_details(&self, tile: Tile, limit: u64) -> Result<Option<Vec<u8>>, ExportError> {
        self.read_file(&details_path(tile), limit)
    }

    fn read_file(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ExportError> {
        let path = self.folder.join(name);
        let mut bytes = Vec::new();
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("open", &path))?,
        };
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        Ok(Some(bytes))
    }

    /// The sizes of the checkpoints beside the newest, ascending.
    pub(crate) fn kept_checkpoints(&self) -> Result<Vec<u64>, ExportError> {
        let path = self.folder.join(CHECKPOINTS);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &path))?,
        };
        let mut sizes = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("list", &path))?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(UNFINISHED) {
                continue;
            }
            let size = name.parse().ok().filter(|size| Self::kept_name(*size) == format!("{CHECKPOINTS}/{name}"));
            sizes.push(
                size.ok_or_else(|| self.damaged(format!("{CHECKPOINTS}/{name} is not the name of a checkpoint")))?,
            );
        }
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// The checkpoint of this size, of those beside the newest.
    pub(crate) fn read_kept(&self, size: u64, limit: u64) -> Result<Option<Vec<u8>>, ExportError> {
        self.read_file(&Self::kept_name(size), limit)
    }

    pub(super) fn keep_checkpoint(&self, size: u64, note: &str) -> Result<(), ExportError> {
        self.write(&Self::kept_name(size), note.as_bytes())
    }

    /// Makes the folder, for its owner alone, and those above it that are not there; their names are on the disk when this returns.
    pub(crate) fn make(&self) -> Result<(), ExportError> {
        let new =
            self.folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()).count();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(failed("make", &self.folder))?;
        (1..=new).try_for_each(|above| self.sync(&"../".repeat(above)))
    }

    /// Writes a file that is never changed: it and its name are on the disk when this returns. One that is there stays as it is;
    /// whether it is the same.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<bool, ExportError> {
        match self.read_file(name, bytes.len() as u64)? {
            Some(there) if there != bytes => return Ok(false),
            // Of an interrupted run, perhaps, which had not brought the name to the disk.
            Some(_) => self.sync(name)?,
            None => self.write(name, bytes)?,
        }
        self.sync_folders_of([name])?;
        Ok(true)
    }

    /// Writes the log's keys, in the place of fewer, on the disk.
    pub(crate) fn put_log_keys(&self, keys: &[VerifierKey]) -> Result<(), ExportError> {
        self.write(KEYS, lines(keys).as_bytes())?;
        self.sync_folders_of([KEYS])
    }

    /// Writes a file, whole or not at all: it has its name once its bytes are on the disk, so that no loss of power leaves a
    /// part of it. The name is on the disk after [`Self::sync_folders_of`].
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let (from, to) = (self.folder.join(format!("{name}{UNFINISHED}")), self.folder.join(name));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(failed("make", folder))?;
        }
        // What an interrupted run has left goes first. Never is a link followed that somebody has put there: he would say what is
        // written over.
        self.remove(&format!("{name}{UNFINISHED}"))?;
        let written = File::create_new(&from).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&from, &to)).map_err(failed("write", &to))
    }

    /// Brings the names of files to the disk, and those of the folders that they are in.
    pub(super) fn sync_folders_of<N: AsRef<Path>>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(), ExportError> {
        let mut folders = BTreeSet::new();
        for name in names {
            folders.extend(name.as_ref().ancestors().skip(1).map(Path::to_owned));
        }
        folders.iter().try_for_each(|folder| self.sync(&folder.to_string_lossy()))
    }

    /// The path of the checkpoint of this size, of those beside the newest.
    pub(crate) fn kept_name(size: u64) -> String {
        format!("{CHECKPOINTS}/{size:020}")
    }

    pub(crate) fn holds(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// Brings a file to the disk, or the names in a folder.
    fn sync(&self, name: &str) -> Result<(), ExportError> {
        let path = self.folder.join(name);
        File::open(&path).and_then(|file| file.sync_all()).map_err(failed("sync", &path))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), ExportError> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes the partial tiles in the place of a whole one: C2SP tlog-tiles lets them go once that is there.
    pub(super) fn remove_partial(&self, whole: &str) -> Result<(), ExportError> {
        let path = self.folder.join(format!("{whole}.p"));
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

fn lines(keys: &[VerifierKey]) -> String {
    keys.iter().map(|key| format!("{key}\n")).collect()
}

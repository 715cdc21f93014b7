//! A copy of the database as it stands at one moment, and a look at one without opening it for work.

use crate::error::Source;
use crate::open::create;
use crate::sqlite::{connect, head};
use crate::{Epoch, Reader, Seal};
use chancery_model::Uid;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Where a database stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which database it is.
    pub database: Uid,
    /// The state's epoch.
    pub epoch: Epoch,
    /// The index that the next leaf gets.
    pub next_index: u64,
    /// One more than the highest index that a leaf has.
    pub leaves: u64,
    /// What the state is held to; `None` until it is sealed for the first time.
    pub seal: Option<Seal>,
}

/// A database could not be copied, or looked at.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is not there.
    #[error("there is no database {path}")]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// There is something in the copy's place.
    #[error("{path} exists already; name another folder, or move it away")]
    Exists {
        /// The copy.
        path: PathBuf,
    },
    /// The file is no database at all.
    #[error("{path} is no SQLite database, and so none of Chancery's; name the one of store.path, or a copy of it")]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database of Chancery's, or one of an earlier version.
    #[error(
        "{path} is not a database of this version of Chancery. If it was copied with the tools of the system while a service ran \
         on it, it lacks what stood in the file of that name with -wal behind it: take the copy with `chancery backup create`, \
         or stop the service and copy both files. If it is of an earlier version, a service that starts on it brings it up to \
         date; of what is to be evidence, on a copy"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The pages of the file do not fit together.
    #[error("the database {path} is damaged: {what}; take another backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the database's own check says first.
        what: String,
    },
    /// The database, or the disk under it, refused.
    #[error("{path} failed while {doing}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        source: Source,
    },
}

/// Copies the database, state and log, as it stands at one moment; a service that runs on it goes on meanwhile. The copy is
/// one file that is whole by itself, on the disk when this returns. Says where the copy stands.
///
/// # Errors
/// [`BackupError`]; what there is of the copy then is to be thrown away.
pub fn back_up(database: &Path, copy: &Path) -> Result<Standing, BackupError> {
    if copy.exists() {
        return Err(BackupError::Exists { path: copy.to_owned() });
    }
    let connection = reading(database)?;
    let failed = failure(copy, "copying the database");
    create(copy).map_err(|error| failed(error.into()))?;
    let name = copy.to_str().ok_or_else(|| failed("the path is not UTF-8".into()))?;
    // Not with a connection that may only read: to SQLite the copy is a database that is written to.
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| failed(error.into()))?;
    // SQLite does not sync what it writes here.
    let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(copy).and_then(|file| file.sync_all());
    synced.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| failed(error.into()))?;
    standing(copy)
}

/// Where a database stands. Takes no lock and changes nothing: a service may run on it.
///
/// # Errors
/// [`BackupError`].
pub fn standing(database: &Path) -> Result<Standing, BackupError> {
    let connection = reading(database)?;
    let failed = failure(database, "reading where it stands");
    let read = || {
        let head = head::read(&connection)?;
        let (database, seal) = head::seal(&connection)?;
        Ok::<_, crate::StoreError>((head, database, seal, head::leaves(&connection)?))
    };
    let (head, database, seal, leaves) = read().map_err(|error| failed(error.into()))?;
    Ok(Standing { database, epoch: head.epoch, next_index: head.next_index, leaves, seal })
}

/// Has the database check that its pages fit together.
///
/// # Errors
/// [`BackupError`].
pub fn check_pages(database: &Path) -> Result<(), BackupError> {
    let failed = failure(database, "checking its pages");
    let found: String = reading(database)?
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| failed(error.into()))?;
    if found == "ok" { Ok(()) } else { Err(BackupError::Damaged { path: database.to_owned(), what: found }) }
}

/// Reads a database without opening it for work: takes no lock, changes nothing, and a service may run on it. It must be one
/// of this version.
///
/// # Errors
/// [`BackupError`].
pub fn look_into(database: &Path) -> Result<Reader, BackupError> {
    let failed = failure(database, "looking for its log");
    // Of an earlier version, a database has not all that is read.
    let newest = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('shown_checkpoint') WHERE name = 'note')";
    let newest: bool =
        reading(database)?.query_row(newest, [], |row| row.get(0)).map_err(|error| failed(error.into()))?;
    if !newest {
        return Err(BackupError::NotOurs { path: database.to_owned() });
    }
    Ok(Reader::new(database.to_owned()))
}

fn failure(path: &Path, doing: &'static str) -> impl Fn(Source) -> BackupError {
    move |source| BackupError::Failed { path: path.to_owned(), doing, source }
}

/// A connection to a database that must be there, and ours.
fn reading(path: &Path) -> Result<rusqlite::Connection, BackupError> {
    if !path.is_file() {
        return Err(BackupError::Missing { path: path.to_owned() });
    }
    let failed = failure(path, "opening it");
    if !begins_as_database(path).map_err(|error| failed(error.into()))? {
        return Err(BackupError::NoDatabase { path: path.to_owned() });
    }
    let connection = connect::open(path).map_err(|error| failed(error.into()))?;
    let ours = "SELECT (SELECT application_id FROM pragma_application_id) = ?1
                AND EXISTS (SELECT 1 FROM pragma_table_info('head') WHERE name = 'state_mac')";
    let ours: rusqlite::Result<bool> = connection.query_row(ours, [connect::APPLICATION_ID], |row| row.get(0));
    match ours {
        Ok(true) => Ok(connection),
        Ok(false) | Err(_) => Err(BackupError::NotOurs { path: path.to_owned() }),
    }
}

/// Whether a file begins as every SQLite database does.
fn begins_as_database(path: &Path) -> io::Result<bool> {
    const BEGINNING: &[u8] = b"SQLite format 3\0";
    let mut head = Vec::new();
    File::open(path)?.take(BEGINNING.len() as u64).read_to_end(&mut head)?;
    Ok(head == BEGINNING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_stands_where_the_database_stood() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, copy) = (folder.path().join("a.db"), folder.path().join("copy.db"));
        let (mut writer, _reader) = crate::open(&path).unwrap();
        let mut transaction = writer.begin().unwrap();
        transaction.raise_epoch(Epoch::new(1), 0).unwrap().unwrap();
        let seal = Seal { root: [1; 32], mac: [2; 32] };
        transaction.set_seal(&seal).unwrap();
        transaction.commit().unwrap();
        // While the writer has it open.
        let copied = back_up(&path, &copy).unwrap();
        assert_eq!((copied.epoch.get(), copied.next_index, copied.leaves, copied.seal), (2, 0, 0, Some(seal)));
        assert_eq!(copied, standing(&path).unwrap());
        check_pages(&copy).unwrap();
        assert!(matches!(back_up(&path, &copy), Err(BackupError::Exists { .. })));
        let (writer, _reader) = crate::open(&copy).unwrap();
        assert_eq!(writer.seal().unwrap(), (copied.database, Some(seal)));
    }

    #[test]
    fn a_database_is_looked_into_beside_its_writer_and_only_one_of_this_version() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.db");
        let (mut writer, _reader) = crate::open(&path).unwrap();
        let reader = look_into(&path).unwrap();
        let mut transaction = writer.begin().unwrap();
        transaction.take_indexes(1).unwrap();
        transaction.commit().unwrap();
        assert_eq!(reader.log_end().unwrap(), crate::LogEnd { next_index: 1, leaves: 0 });
        drop((reader, writer));
        let old = folder.path().join("old.db");
        back_up(&path, &old).unwrap();
        rusqlite::Connection::open(&old).unwrap().execute_batch("DROP TABLE shown_checkpoint").unwrap();
        assert!(matches!(look_into(&old), Err(BackupError::NotOurs { .. })));
        // What a plain copy of a database in use is, before its write-ahead log is taken in for the first time.
        let (used, plain) = (folder.path().join("used.db"), folder.path().join("plain.db"));
        let in_use = crate::open(&used).unwrap();
        std::fs::copy(&used, &plain).unwrap();
        let error = look_into(&plain).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, BackupError::NotOurs { .. }), "{said}");
        assert!(said.contains("with -wal behind it") && said.contains("`chancery backup create`"), "{said}");
        drop(in_use);
        assert!(matches!(look_into(&folder.path().join("none.db")), Err(BackupError::Missing { .. })));
    }

    #[test]
    fn what_is_no_database_of_ours_is_not_copied() {
        let folder = tempfile::TempDir::new().unwrap();
        let (other, copy) = (folder.path().join("other"), folder.path().join("copy.db"));
        assert!(matches!(back_up(&other, &copy), Err(BackupError::Missing { .. })));
        for content in ["", "no database"] {
            std::fs::write(&other, content).unwrap();
            assert!(matches!(back_up(&other, &copy), Err(BackupError::NoDatabase { .. })), "{content:?}");
        }
        std::fs::remove_file(&other).unwrap();
        rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE of_another (x)").unwrap();
        assert!(matches!(back_up(&other, &copy), Err(BackupError::NotOurs { .. })));
        assert!(!copy.exists());
    }
}

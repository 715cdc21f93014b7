//! What was found to be wrong with a state, in words for the operator.

use std::fmt;
use std::path::PathBuf;

use chancery_store::{RowId, RowTable};

/// The most rows that are named one by one.
const MOST_ROWS: usize = 20;

/// The state is not the one that was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct StateRefused {
    /// What was found, at least one thing.
    pub found: Vec<StateRefusal>,
}

impl fmt::Display for StateRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state in the database is not the one that was sealed:")?;
        for one in &self.found {
            write!(f, "\n- {one}")?;
        }
        f.write_str(
            "\nnothing is decided by it. Find out who changed the database, and restore the newest backup; where it is meant \
             to be so (a backup was restored, a token replaced), `chancery state accept` goes on with it, on the record \
             (docs/operations.md)",
        )
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateRefusal {
    /// Rows are not those that were sealed.
    #[error("{}", rows(.0))]
    Rows(Vec<RowFinding>),
    /// Rows are there more than once. That is not accepted, either: no hash says which of them is meant.
    #[error("{}", rows(.0))]
    Twice(Vec<RowFinding>),
    /// The rows are those of the root, and root, epoch and MAC do not fit together.
    #[error("the MAC is not that of this epoch ({epoch}) and these rows: the epoch, the root or the MAC was edited")]
    Mac {
        /// The epoch as it stands there.
        epoch: u64,
    },
    /// The database has no seal, and had one, or another database had.
    #[error(
        "it has no seal, and {}: either the seal was removed, or another database was sealed here before",
        removed(*.secret, *.anchor)
    )]
    SealRemoved {
        /// The token holds a secret for it.
        secret: bool,
        /// The anchor is there.
        anchor: bool,
    },
    /// The token has no such secret as the database names.
    #[error(
        "the token {token} holds no secret of the state under the CKA_ID that the database names for it ({named}): the row \
         was edited, or it is another token than the one that sealed"
    )]
    SecretNotThere {
        /// The token's id in the configuration.
        token: String,
        /// What the database names; `none` where it names nothing.
        named: String,
    },
    /// The log does not end where the head says.
    #[error(
        "the log ends before index {leaves}, and the next index is said to be {next_index}: one of the two was edited"
    )]
    LogEnd {
        /// One more than the highest index there is.
        leaves: u64,
        /// What the head says.
        next_index: u64,
    },
    /// The anchor is not there.
    #[error(
        "its anchor {path} is not there, so that nobody knows whether this is the newest state: the database was restored or \
         moved without it, or the file was removed"
    )]
    AnchorMissing {
        /// The file.
        path: PathBuf,
    },
    /// The anchor is none.
    #[error("its anchor {path} cannot be read: {why}")]
    AnchorUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The anchor is another database's.
    #[error("the anchor {path} is that of another database ({anchor}, and this is {database})")]
    OtherDatabase {
        /// The file.
        path: PathBuf,
        /// The anchor's.
        anchor: String,
        /// This one's.
        database: String,
    },
    /// The database is older than its anchor.
    #[error(
        "the database is of an earlier time: it stands at epoch {epoch} and index {next_index}, and had come to epoch \
         {anchor_epoch} and index {anchor_index} by its anchor {path}"
    )]
    Behind {
        /// The file.
        path: PathBuf,
        /// The database's.
        epoch: u64,
        /// The database's.
        next_index: u64,
        /// The anchor's.
        anchor_epoch: u64,
        /// The anchor's.
        anchor_index: u64,
    },
    /// Anchor and database disagree on what the state was.
    #[error(
        "the anchor {path} does not say of epoch {epoch} what the database says: one of the two was edited, or replaced"
    )]
    Fork {
        /// The file.
        path: PathBuf,
        /// Of which epoch.
        epoch: u64,
    },
    /// The log is not the one of the anchor: an older database that was written to since, by refusals of itself for example,
    /// so that it is not behind its anchor any more.
    #[error(
        "the log is not the one that the anchor {path} knows: its first {size} records are others. The database is of an \
         earlier time and has recorded since, if nothing else then that it was refused; or its records were edited"
    )]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// How many records the anchor knows.
        size: u64,
    },
    /// It was another one when it was loaded once more.
    #[error("it was changed while it was being checked: what was loaded afterwards is not what was sealed")]
    Changed,
    /// The log has fewer leaves than a checkpoint says.
    #[error(
        "the log has {leaves} records, and the checkpoint {place} says that it had {size}: it was cut, or is of an earlier time"
    )]
    LogBehind {
        /// Where the checkpoint is.
        place: String,
        /// What it says.
        size: u64,
        /// How many there are.
        leaves: u64,
    },
    /// The log is not the one of a checkpoint.
    #[error(
        "the first {size} records are not those that the checkpoint {place} was signed over: the log forks from it"
    )]
    LogForks {
        /// Where the checkpoint is.
        place: String,
        /// Over how many records it was signed.
        size: u64,
    },
    /// Hashes of archived leaves are not what was signed, and the archive does not give them.
    #[error(
        "the hashes that the database keeps of the archived records {first} to {last} do not lead to what was signed, and the \
         archive does not give them again: {why}. Where nothing else is wrong, bring it back as it was, and `chancery state \
         check` mends them"
    )]
    ArchivedHashes {
        /// The first record of the first such tile.
        first: u64,
        /// The last.
        last: u64,
        /// What is wrong with the archive.
        why: String,
    },
    /// The checkpoint is none of this log's.
    #[error("the checkpoint {place} is not one that this log's key signed: {why}")]
    CheckpointNotOurs {
        /// Where it is.
        place: String,
        /// Why.
        why: String,
    },
    /// The rows cannot even be read.
    #[error("{0}")]
    Unreadable(String),
}

impl StateRefusal {
    /// Whether it is the anchor that says so, or of which it is said.
    pub(super) const fn is_of_the_anchor(&self) -> bool {
        matches!(
            self,
            Self::AnchorMissing { .. }
                | Self::AnchorUnreadable { .. }
                | Self::OtherDatabase { .. }
                | Self::Behind { .. }
                | Self::Fork { .. }
                | Self::OtherLog { .. }
        )
    }
}

/// A row that is not the one that was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFinding {
    /// The kind of row.
    pub table: RowTable,
    /// Which row.
    pub id: RowId,
    /// Its name, or its uid where it has none any more.
    pub name: String,
    /// What was done to it.
    pub tampering: Tampering,
}

/// What was done to a row, as the log tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// It is not as the record says.
    Edited {
        /// The newest record that names it.
        record: u64,
    },
    /// It is as an earlier record says.
    PutBack {
        /// The newest record that names it.
        record: u64,
        /// The record whose row it is.
        earlier: u64,
    },
    /// It is not there.
    Deleted {
        /// The newest record that names it.
        record: u64,
    },
    /// It is there, and was removed.
    Returned {
        /// The record that removed it.
        record: u64,
    },
    /// No record names it.
    Added,
    /// It is there more than once.
    Twice,
}

impl fmt::Display for RowFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, id: _, name, tampering } = self;
        write!(f, "the {} {name} ", table.as_str())?;
        match tampering {
            Tampering::Edited { record } => write!(f, "was edited: it is not as record {record} says"),
            Tampering::PutBack { record, earlier } => {
                write!(f, "was put back: it is as record {earlier} says, and not as record {record}, which is newer")
            }
            Tampering::Deleted { record } => write!(f, "was deleted: record {record} says that it is there"),
            Tampering::Returned { record } => write!(f, "was put back: record {record} says that it was removed"),
            Tampering::Added => f.write_str("was added: no record names it"),
            Tampering::Twice => f.write_str("is there more than once: all but one of them must be removed by hand"),
        }
    }
}

fn rows(found: &[RowFinding]) -> String {
    if found.is_empty() {
        return "its rows are not those that were sealed; which one it is cannot be told from the log".to_owned();
    }
    let mut named: Vec<String> = found.iter().take(MOST_ROWS).map(ToString::to_string).collect();
    if found.len() > MOST_ROWS {
        named.push(format!("and {} rows more", found.len() - MOST_ROWS));
    }
    named.join("\n- ")
}

const fn removed(secret: bool, anchor: bool) -> &'static str {
    match (secret, anchor) {
        (true, true) => "the token holds a secret that sealed one, and there is an anchor",
        (true, false) => "the token holds a secret that sealed one",
        (false, _) => "there is an anchor of one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_counted_and_each_is_named_with_its_record() {
        let id = RowId::from_bytes([7; 16]);
        let finding = |name: &str, tampering| RowFinding { table: RowTable::Key, id, name: name.to_owned(), tampering };
        let put_back = finding("keyRings/a/keys/b", Tampering::PutBack { record: 9, earlier: 3 });
        let text = StateRefused { found: vec![StateRefusal::Rows(vec![put_back])] }.to_string();
        let expected =
            "\n- the key keyRings/a/keys/b was put back: it is as record 3 says, and not as record 9, which is newer\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("chancery state accept"), "{text}");
        let many = vec![finding("x", Tampering::Added); MOST_ROWS + 5];
        assert!(StateRefusal::Rows(many).to_string().ends_with("\n- and 5 rows more"));
        assert!(StateRefusal::Rows(Vec::new()).to_string().contains("cannot be told"));
    }
}

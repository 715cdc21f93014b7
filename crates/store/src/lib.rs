//! Rows in and out: the state (keys, key versions, key rings, callers, API keys, policy sets) and the log (leaves and their
//! details), in one database.
//!
//! In scope: SQL, migrations, transactions, durability, the lock that keeps a second service off the same
//! database, and the canonical bytes of a row. Out of scope: what a state means and who may change it
//! (`core`), what a leaf says and when a group is committed (`audit`), Merkle trees (`audit`).
//!
//! One [`Writer`] does every write; [`Reader`]s read beside it. State and log are in one file, so that a
//! change and its record are one transaction. **The epoch** ties them together: each change of the state
//! raises it, and a record that was decided under an older one takes no indexes
//! ([`Transaction::take_indexes_at`]).
//!
//! No type of SQLite is in this crate's interface, so that PostgreSQL can stand behind the same one.

mod archive;
mod backup;
mod canonical;
mod change;
mod error;
mod lock;
mod open;
mod reader;
mod record;
mod rows;
mod sqlite;
mod transaction;
mod writer;

pub use archive::{ArchiveError, ArchivedLeaves};
pub use backup::{BackupError, Standing, back_up, check_pages, look_into, standing};
pub use change::{RowChange, RowId, RowTable};
pub use error::{OpenError, StoreError};
pub use open::open;
pub use reader::Reader;
pub use record::{
    Erasable, ErasableQuery, FoundBy, LogEnd, LogRow, NewRecord, NotedEnd, OpenIntent, Order, RecordEnd, RecordPage,
    RecordProgress, RecordQuery, SEARCHED_BYTES, SearchColumns, StoredDetails, StoredRecord,
};
pub use rows::{
    ApiKeyRow, CallerRegistration, CallerRow, CheckpointRow, Epoch, Head, KeyRingRow, KeyRow, KeyVersionRow,
    PolicyDocument, PolicySetRow, Seal, State,
};
pub use transaction::{Taken, Transaction};
pub use writer::Writer;

//! A log in a folder: the files that C2SP tlog-tiles serves, and beside them what commitments and history are checked by
//! (docs/transparency-log.md, "An export").
//!
//! In scope: writing such a folder, so that it can be taken up where it stands, and reading it. Out of scope: verifying it
//! ([`crate::verify`]), and where records come from.
//!
//! An [`Exporter`] makes the tree anew from the leaves, and publishes a checkpoint only over its own root: what is exported
//! is what was signed, or nothing is.

mod database;
mod details;
mod error;
mod exporter;
mod files;
pub(crate) mod limits;

pub use database::{ExportDatabaseError, export_database};
pub use error::ExportError;
pub use exporter::{Exported, Exporter};
pub use files::ExportedLog;

pub(crate) use details::{details_path, leaves_of, read_details};

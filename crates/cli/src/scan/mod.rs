//! Looking for secrets that are where they do not belong: Chancery API keys and PEM private keys.
//!
//! In scope: what is a secret and what only looks like one, trees of files, the history of a git repository, findings that
//! are known already. Out of scope: printing (`view`) and arguments (`commands`). A finding says where, never what.

mod baseline;
mod finder;
mod history;
mod tree;

pub use baseline::Baseline;
pub use finder::{Finding, Kind, Place};

use std::path::Path;

use crate::exit::Failure;

/// Scans a file or the files under a folder.
pub fn tree(path: &Path) -> Result<Vec<Finding>, Failure> {
    tree::scan(path)
}

/// Scans what was ever added in the git repository that the folder is in.
pub fn history(path: &Path) -> Result<Vec<Finding>, Failure> {
    history::scan(path)
}

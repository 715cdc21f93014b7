//! Everything for development in one folder: token, authority, certificates, configuration, first policy set.
//!
//! In scope: making the folder complete, step by step, each step idempotent and each file written whole or not at all, so
//! that a folder left half made by a crash is completed by the next start, and a complete one is left as it is. Out of
//! scope: serving (`commands::dev`), and anything for production: the token keeps its keys in files.

mod announcement;
mod certificates;
mod configuration;
mod folder;
pub mod token;

pub use announcement::Announcement;
pub use folder::Folder;
pub use token::Module;

use std::net::SocketAddr;

use crate::exit::Failure;

/// Where a new configuration has the service listen.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For callers.
    pub listen: SocketAddr,
    /// For metrics and probes.
    pub admin: SocketAddr,
}

/// Completes the folder; answers what it did, a line for each step that there was to do. A new token is SoftHSM's, unless
/// another module is given.
pub async fn prepare(
    folder: &Folder,
    addresses: Addresses,
    module: Option<Module>,
    now: time::OffsetDateTime,
) -> Result<Vec<String>, Failure> {
    let mut done = Vec::new();
    let token = token::prepare(folder, module, &mut done).await?;
    certificates::prepare(folder, now, &mut done)?;
    configuration::prepare(folder, addresses, &token, &mut done)?;
    Ok(done)
}

//! Witnesses of a transparency log, by C2SP tlog-witness (<https://c2sp.org/tlog-witness>).
//!
//! In scope: asking a witness for its cosignature ([`Witness`]); and a small witness of our own ([`Desk`], [`serve`]), for
//! tests and demonstrations, which has the only private key in this house that is in a file, its own. Out of scope: which
//! checkpoint is sent when, and how many cosignatures it needs (`core`); the formats (`audit`).

mod asking;
mod desk;
mod key;
mod server;

pub use asking::{Answer, AskError, Witness};
pub use desk::{Desk, DeskError, Refusal};
pub use key::{CosignerKey, KeyError};
pub use server::{ServeError, Tls, serve};

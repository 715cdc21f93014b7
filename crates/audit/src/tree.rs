//! The Merkle tree over the log's leaves: hashed and proved as RFC 6962, section 2, says; cut into tiles, stored and
//! served as C2SP tlog-tiles says (<https://c2sp.org/tlog-tiles>).
//!
//! In scope: mathematics and encodings. Out of scope: where tiles are kept; who reads hands in a closure.
//!
//! Why this is not a library's: of those at hand, `tlog_tiles` and `signed_note` 0.2 write paths as Go's checksum
//! database does and not as C2SP, bring a second implementation of Ed25519 beside aws-lc-rs, sign with a key in memory
//! (ours is in a token and asked asynchronously), and know neither cosignatures nor tlog-proof. What is left of them is
//! less than this module, and it is what the record's promise rests on. Tests hold it to published vectors and to a
//! second implementation written from the RFC alone.

mod append;
mod bundle;
mod hash;
mod proof;
mod stored;
mod tiles;

pub use append::Appender;
pub use bundle::{BundleError, EntryTooLong, push_entry, read_bundle};
pub(crate) use hash::root_over;
pub use hash::{EMPTY_ROOT, leaf_hash, node_hash};
pub use proof::{ProofError, check_consistency, check_inclusion};
pub use stored::{CheckTileError, MakeProofError, StoredTree};
pub(crate) use tiles::MAX_LEVEL;
pub use tiles::{Resource, TILE_WIDTH, Tile, TileError};

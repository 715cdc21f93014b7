//! The longest that the files of an export or an archive may be, in bytes; whatever a file says, no more is taken into memory.

/// A checkpoint; a note is refused long before.
pub(crate) const CHECKPOINT_BYTES: u64 = 1 << 20;
/// A tile of 256 hashes.
pub(crate) const TILE_BYTES: u64 = 256 * 32;
/// 256 entries, each after its length.
pub(crate) const BUNDLE_BYTES: u64 = 256 * (2 + 65_535);
/// The details of 256 records, which have a few KiB each.
pub(crate) const DETAILS_BYTES: u64 = 256 << 20;

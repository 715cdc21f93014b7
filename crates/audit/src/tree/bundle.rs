//! Bundles of entries: C2SP tlog-tiles, "Log entries". Each entry after its length in two bytes, big-endian.

use crate::tree::TILE_WIDTH;

/// A leaf that no bundle can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a leaf of {0} bytes: an entry of a bundle has at most 65,535")]
pub struct EntryTooLong(pub usize);

/// Why bytes are no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Bytes are missing.
    #[error("the bundle ends in the middle of its entry {entry}, counted from 0")]
    Cut {
        /// Which.
        entry: u16,
    },
    /// Bytes are left over.
    #[error("the bundle goes on after its {width} entries")]
    Long {
        /// How many it should have.
        width: u16,
    },
    /// There is no such bundle.
    #[error("a bundle has 1 to 256 entries, not {width}")]
    Width {
        /// How many were asked for.
        width: u16,
    },
}

/// Appends a leaf to a bundle.
///
/// # Errors
/// [`EntryTooLong`]: nothing was appended.
pub fn push_entry(bundle: &mut Vec<u8>, leaf: &[u8]) -> Result<(), EntryTooLong> {
    let length = u16::try_from(leaf.len()).or(Err(EntryTooLong(leaf.len())))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(leaf);
    Ok(())
}

/// The leaves of a bundle of exactly `width`.
///
/// # Errors
/// [`BundleError`] says what is wrong with the bytes.
pub fn read_bundle(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    if width == 0 || width > TILE_WIDTH {
        return Err(BundleError::Width { width });
    }
    let mut rest = bundle;
    let mut entries = Vec::with_capacity(usize::from(width));
    for entry in 0..width {
        let (length, after) = rest.split_first_chunk().ok_or(BundleError::Cut { entry })?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (leaf, after) = after.split_at_checked(length).ok_or(BundleError::Cut { entry })?;
        entries.push(leaf);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Long { width }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bundle(leaves: &[&[u8]]) -> Vec<u8> {
        let mut bundle = Vec::new();
        leaves.iter().for_each(|leaf| push_entry(&mut bundle, leaf).unwrap());
        bundle
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        assert_eq!(bundle(&[b"ab", b"", b"c"]), b"\x00\x02ab\x00\x00\x00\x01c");
        let longest = vec![7; 65_535];
        assert_eq!(bundle(&[&longest])[..2], [0xff, 0xff]);
        assert_eq!(read_bundle(&bundle(&[&longest]), 1), Ok(vec![longest.as_slice()]));
        assert_eq!(push_entry(&mut Vec::new(), &[7; 65_536]), Err(EntryTooLong(65_536)));
    }

    #[test]
    fn a_bundle_cut_short_or_drawn_out_is_none() {
        let leaves: [&[u8]; 3] = [b"one", b"", b"three"];
        let bytes = bundle(&leaves);
        assert_eq!(read_bundle(&bytes, 3), Ok(leaves.to_vec()));
        for length in 0..bytes.len() {
            assert!(matches!(read_bundle(&bytes[..length], 3), Err(BundleError::Cut { .. })), "{length}");
        }
        assert_eq!(read_bundle(&bytes, 2), Err(BundleError::Long { width: 2 }));
        assert_eq!(read_bundle(&bytes, 4), Err(BundleError::Cut { entry: 3 }));
        assert_eq!(read_bundle(&bytes, 0), Err(BundleError::Width { width: 0 }));
        assert_eq!(read_bundle(&bytes, 257), Err(BundleError::Width { width: 257 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bundle_or_none(bytes: Vec<u8>, width in 0_u16..300) {
            if let Ok(leaves) = read_bundle(&bytes, width) {
                prop_assert_eq!(bundle(&leaves), bytes);
            }
        }
    }
}

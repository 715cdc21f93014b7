//! Salted commitments: a leaf tells nothing about details and rows, and pins them down all the same.
//!
//! Who has the salt can check; once the salt is erased, not even a guess of the content can be confirmed.

use chancery_crypto::sha256;
use chancery_model::Sha256Hash;

/// Separates the two uses of one salt from each other and from any other hash.
const DETAILS: &[u8] = b"chancery/audit-details/v1";
const ROW: &[u8] = b"chancery/audit-row/v1";

/// SHA-256 of `chancery/audit-details/v1`, the salt, and the details' bytes.
#[must_use]
pub fn commitment_to_details(salt: &[u8; 32], details: &[u8]) -> Sha256Hash {
    sha256(&[DETAILS, salt, details].concat())
}

/// SHA-256 of `chancery/audit-row/v1`, the salt, and the row's canonical bytes
/// (`chancery_store::RowChange::canonical_bytes`); 32 zero bytes for a row that was removed.
#[must_use]
pub fn commitment_to_row(salt: &[u8; 32], row: Option<&[u8]>) -> Sha256Hash {
    row.map_or([0; 32], |row| sha256(&[ROW, salt, row].concat()))
}

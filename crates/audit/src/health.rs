//! Whether the log takes records.

use chancery_model::Timestamp;

/// Whether the log takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogHealth {
    /// It does.
    Open,
    /// It does not, until the service is started again.
    Closed {
        /// Since when.
        since: Timestamp,
        /// Why: what the database said.
        reason: String,
    },
}

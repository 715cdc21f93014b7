//! The environment variables.

/// Names the database: its file name, or its whole path where several of that name are used by one process.
pub const DATABASE_VARIABLE: &str = "DISK_FAULT_DATABASE";
/// Names the file of rules. Without it, or while there is no such file, nothing goes wrong.
pub const RULES_VARIABLE: &str = "DISK_FAULT_RULES";
/// Names the file to which each fault is appended.
pub const LOG_VARIABLE: &str = "DISK_FAULT_LOG";

//! What the commands that take a version from one state to another have in common.

use std::time::Duration;

use chancery_model::KeyVersionName;
use clap::Args;

use crate::duration;
use crate::names::VersionArgument;

/// Which version, and why.
#[derive(Debug, Args)]
pub struct ChangeState {
    /// RING/KEY/VERSION
    #[arg(value_name = "VERSION")]
    key_version: VersionArgument,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl ChangeState {
    /// The version and the reason.
    pub fn parts(self) -> (KeyVersionName, String) {
        let Self { key_version: VersionArgument(name), reason } = self;
        (name, reason)
    }
}

/// Arguments of `keys schedule-destruction`.
#[derive(Debug, Args)]
pub struct ScheduleDestruction {
    #[command(flatten)]
    pub change: ChangeState,
    /// How long it can be cancelled: 24h to 365d, in rings of the environment dev also less [default: 30d]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub grace: Option<Duration>,
}

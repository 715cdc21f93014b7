//! `chancery rings`: key rings, and whether their keys are used.

use chancery_client::{Client, FrozenRing};
use chancery_model::RingName;
use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};
use crate::names::RingArgument;
use crate::output::Output;
use crate::view::rings::{FrozenView, RingList, RingView};

/// Lists, shows, freezes and unfreezes key rings.
#[derive(Debug, Subcommand)]
pub enum RingsCommand {
    /// List the key rings that you may see, with their states and the algorithms that each offers
    #[command(after_long_help = "Example:\n  chancery rings list")]
    List,
    /// Show a key ring: its state, and why it is frozen where it is
    #[command(after_long_help = "Example:\n  chancery rings show dev")]
    Show(Show),
    /// Stop all use of a ring's keys but verification; returns when nothing of it is under way any more
    #[command(after_long_help = "\
Nothing is signed with the ring's keys, none is made, adopted or destroyed, and no version takes over, on every replica. Verify, \
MacVerify and reading go on, as does what stops a version for longer: suspend, deactivate, compromise.

Examples:
  chancery rings freeze dev --reason 'incident 77'")]
    Freeze(ChangeRing),
    /// Let the keys of a frozen ring be used again; what their rules have asked for meanwhile is caught up with
    #[command(after_long_help = "\
Examples:
  chancery rings unfreeze dev --reason 'incident 77 is closed'")]
    Unfreeze(ChangeRing),
}

/// Arguments of `rings show`.
#[derive(Debug, Args)]
pub struct Show {
    /// RING
    ring: RingArgument,
}

/// Which ring, and why.
#[derive(Debug, Args)]
pub struct ChangeRing {
    /// RING
    ring: RingArgument,
    /// Why; kept in the record, and shown with the ring
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl ChangeRing {
    fn parts(self) -> (RingName, String) {
        let Self { ring: RingArgument(name), reason } = self;
        (name, reason)
    }
}

impl RingsCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List => out.show(&list(client).await?),
            Self::Show(Show { ring: RingArgument(name) }) => out.show(&RingView::from(client.key_ring(&name).await?)),
            Self::Freeze(change) => {
                let (name, reason) = change.parts();
                let FrozenRing { ring, open_intents } = client.freeze_key_ring(&name, &reason).await?;
                out.show(&FrozenView { key_ring: ring.into(), open_intents })
            }
            Self::Unfreeze(change) => {
                let (name, reason) = change.parts();
                out.show(&RingView::from(client.unfreeze_key_ring(&name, &reason).await?))
            }
        }?;
        Ok(Exit::Done)
    }
}

/// The key rings that the caller may see.
pub(super) async fn list(client: &Client) -> Result<RingList, Failure> {
    let key_rings = client.key_rings().collect().await?.into_iter().map(Into::into).collect();
    Ok(RingList { key_rings })
}

//! `chancery token init`, `change-pin` and `doctor`: what is done with a token itself, while no service holds it.

mod address;
mod change_pin;
mod doctor;
mod init;
mod pins;
mod slots;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::output::Output;
use change_pin::ChangePin;
use doctor::Doctor;
use init::Init;
pub use slots::SlotsOf;

/// Works on a token, without a service.
#[derive(Debug, Subcommand)]
pub enum ProvisionCommand {
    /// Initialise a slot: make a token, with its label and PINs
    Init(Init),
    /// Change the PIN of a token's user or security officer
    ChangePin(ChangePin),
    /// Examine a PKCS#11 module and token: what works, what does not, what to know before trusting it
    Doctor(Doctor),
}

impl ProvisionCommand {
    /// Runs the command.
    pub async fn run(self, out: &mut Output<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Init(command) => command.run(out).await,
            Self::ChangePin(command) => command.run(out).await,
            Self::Doctor(command) => command.run(out).await,
        }
    }
}

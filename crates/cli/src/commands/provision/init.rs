//! `chancery token init`: makes a token in a slot, or wipes one.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::path::PathBuf;

use chancery_hsm::{HsmError, HsmErrorKind, InitialiseToken, InitialisedToken, ReinitialiseToken};
use clap::Args;
use serde::Serialize;

use super::address::{Address, AddressArguments};
use super::pins::Wanted;
use crate::commands::serve::worker_command;
use crate::exit::{Exit, Failure};
use crate::output::{Output, View, fields};

/// Arguments of `token init`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
PINs are read from files of mode 600, from inherited descriptors, or asked for at the terminal, which shows nothing of them; \
never from arguments. The token's lock is held meanwhile: a service that holds the token has to be stopped first. A token \
that is there is refused; so is a label under which a token was made here before, seen now or not.

With --reinitialise everything in the token is DESTROYED, keys included, and its label is typed again to confirm that.

Examples:
  chancery token init --module /usr/lib/softhsm/libsofthsm2.so --env SOFTHSM2_CONF --label payments
  chancery token init --config /etc/chancery/chancery.toml --so-pin-file so-pin --user-pin-file pin
  get-secret so | chancery token init --module v.so --label spare --so-pin-fd 0 --user-pin-file pin
  chancery token init --module vendor.so --label spare --serial 1a2b --reinitialise")]
pub struct Init {
    #[command(flatten)]
    address: AddressArguments,
    /// The slot to make the token in, by its number (token list --module); needed where several are free
    #[arg(long, value_name = "NUMBER", conflicts_with = "reinitialise")]
    slot: Option<u64>,
    /// File with the PIN of the security officer
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    /// Descriptor with the PIN of the security officer; 0 is standard input
    #[arg(long, value_name = "NUMBER", conflicts_with = "so_pin_file")]
    so_pin_fd: Option<u32>,
    /// File with the user PIN [default with --config: the one that the configuration names]
    #[arg(long, value_name = "FILE")]
    user_pin_file: Option<PathBuf>,
    /// Descriptor with the user PIN; 0 is standard input
    #[arg(long, value_name = "NUMBER", conflicts_with = "user_pin_file")]
    user_pin_fd: Option<u32>,
    /// Destroy everything in the token of this label (and serial), and make it anew
    #[arg(long)]
    reinitialise: bool,
    /// The label once more, to confirm that the token is to be wiped; asked for at the terminal where it is not given
    #[arg(long, value_name = "LABEL", requires = "reinitialise")]
    confirm: Option<String>,
}

#[derive(Debug, Serialize)]
struct MadeView {
    label: String,
    serial: String,
    reinitialised: bool,
}

impl Init {
    /// Makes the token.
    pub async fn run(self, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { address, slot, so_pin_file, so_pin_fd, user_pin_file, user_pin_fd, reinitialise, confirm } = self;
        let address = address.resolve()?;
        let label = address.label()?.to_owned();
        address.make_lock_dir()?;
        if reinitialise {
            confirm_destruction(&label, confirm)?;
        }
        let so_pin = Wanted { name: "SO PIN", file: so_pin_file, descriptor: so_pin_fd };
        let user_pin = Wanted { name: "user PIN", file: user_pin_file, descriptor: user_pin_fd };
        // The security officer's PIN of a token that is there is not a new one.
        let so_pin = if reinitialise { so_pin.get(&label)? } else { so_pin.get_new(&label)? };
        let user_pin = match (&user_pin.file, user_pin.descriptor, &address.pin) {
            (None, None, Some(configured)) => {
                super::pins::read(configured, &format!("New user PIN of token {label:?}"))?
            }
            _ => user_pin.get_new(&label)?,
        };
        let Address { module, environment: module_environment, lock_dir, label: _, serial, pin: _ } = address;
        let worker = worker_command();
        let made = if reinitialise {
            let request = ReinitialiseToken { module, module_environment, lock_dir, label, serial, so_pin, user_pin };
            chancery_hsm::reinitialise_token(&worker, request).await
        } else {
            let request = InitialiseToken {
                module,
                module_environment,
                lock_dir,
                label,
                slot,
                so_pin,
                user_pin,
                storage_is_new: false,
            };
            chancery_hsm::initialise_token(&worker, request).await
        };
        let InitialisedToken { label, serial } = made.map_err(failed)?;
        out.show(&MadeView { label, serial, reinitialised: reinitialise })?;
        Ok(Exit::Done)
    }
}

/// Why a token was not made, or not changed, with what to do.
pub(super) fn failed(error: HsmError) -> Failure {
    let (kind, said) = (error.kind, error.to_string());
    let failure = Failure::local(said.clone());
    match kind {
        HsmErrorKind::TokenAbsent if said.contains("is held by") => {
            failure.hint("stop the service (or the other command) that holds the token, and run this again")
        }
        HsmErrorKind::TokenAbsent => failure.hint("chancery token list --module LIBRARY shows what the module shows"),
        _ => failure,
    }
}

/// Nothing is destroyed that was not named twice.
fn confirm_destruction(label: &str, confirmed: Option<String>) -> Result<(), Failure> {
    let typed = match confirmed {
        Some(typed) => typed,
        None if io::stdin().is_terminal() => {
            let mut typed = String::new();
            write!(io::stderr(), "Everything in token {label:?} will be destroyed. Type its label to go on: ")
                .and_then(|()| io::stdin().lock().read_line(&mut typed))
                .map_err(|error| Failure::local("cannot ask at the terminal").because(error))?;
            typed.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => {
            return Err(Failure::usage(format!(
                "everything in token {label:?} would be destroyed, and nobody confirms it"
            ))
            .hint("run this at a terminal, or add --confirm LABEL"));
        }
    };
    if typed == label {
        return Ok(());
    }
    Err(Failure::usage(format!("{typed:?} is not the token's label {label:?}; nothing was done")))
}

impl View for MadeView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        fields(out, [("label", self.label.clone()), ("serial", self.serial.clone())])?;
        match self.reinitialised {
            false => writeln!(out, "made; chancery token doctor tells what it can do"),
            true => writeln!(out, "everything in it was destroyed, and it was made anew"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_destroyed_is_named_twice() {
        assert!(confirm_destruction("payments", Some("payments".to_owned())).is_ok());
        for wrong in ["", "Payments", "payments ", "yes"] {
            assert!(confirm_destruction("payments", Some(wrong.to_owned())).is_err(), "{wrong}");
        }
    }
}

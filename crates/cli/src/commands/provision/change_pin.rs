//! `chancery token change-pin`.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_hsm::{ChangeTokenPin, PinChange, PinChangeFailure, PinSource};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::address::{Address, AddressArguments};
use super::init::failed;
use super::pins::{PinFile, Wanted, random_pin, read};
use crate::commands::serve::worker_command;
use crate::exit::{Exit, Failure};
use crate::output::{Output, View};

/// Whose PIN, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// The user's, with the user's old one
    User,
    /// The security officer's, with the security officer's old one
    So,
    /// The user's, with the security officer's: where the old one is lost or locked; keys stay
    Reset,
}

/// Arguments of `token change-pin`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
PINs are read from files of mode 600, from inherited descriptors, or asked for at the terminal, which shows nothing of them; \
never from arguments. The token's lock is held meanwhile: a service that holds the token has to be stopped first.

The new PIN is written to a file only after the token took it: until then it lies beside it, as FILE.next, and FILE stays as \
it is. Where the token does not say what it did, both files stay, and are named.

Examples:
  chancery token change-pin --config /etc/chancery/chancery.toml --generate
  chancery token change-pin --module vendor.so --label payments                # asks for both PINs
  chancery token change-pin --module vendor.so --label pay --pin-file pin --new-pin-fd 0 < new
  chancery token change-pin --config c.toml --whose reset --pin-file so --new-pin-file p --generate")]
pub struct ChangePin {
    #[command(flatten)]
    address: AddressArguments,
    /// Whose PIN is changed
    #[arg(long, value_enum, default_value = "user")]
    whose: Whose,
    /// File with the PIN to log in with: the user's old one, or the security officer's [default with --config: the user's, as configured]
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Descriptor with it; 0 is standard input
    #[arg(long, value_name = "NUMBER", conflicts_with = "pin_file")]
    pin_fd: Option<u32>,
    /// Descriptor with the new PIN; 0 is standard input
    #[arg(long, value_name = "NUMBER", conflicts_with = "generate")]
    new_pin_fd: Option<u32>,
    /// Make the new PIN up: 128 random bits in hexadecimal, written to a file and shown to nobody
    #[arg(long)]
    generate: bool,
    /// File that the new PIN is written to [default: the one that the old one of the same person came from]
    #[arg(long, value_name = "FILE")]
    new_pin_file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct ChangedView {
    label: String,
    written_to: Option<PathBuf>,
}

impl ChangePin {
    /// Changes it.
    pub async fn run(self, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { address, whose, pin_file, pin_fd, new_pin_fd, generate, new_pin_file } = self;
        let address = address.resolve()?;
        let label = address.label()?.to_owned();
        let old_name = if whose == Whose::User { "user PIN" } else { "SO PIN" };
        let old = Wanted { name: old_name, file: pin_file, descriptor: pin_fd };
        let source = match (old.source()?, &address.pin) {
            (PinSource::Terminal, Some(configured)) if whose == Whose::User => configured.clone(),
            (source, _) => source,
        };
        let target = match (&new_pin_file, &source) {
            (Some(path), _) => Some(path.clone()),
            // The security officer's file is not the user's.
            (None, PinSource::File(path)) if whose != Whose::Reset => Some(path.clone()),
            (None, _) => None,
        };
        if let Some(path) =
            new_pin_file.as_ref().filter(|path| path.exists() && source != PinSource::File(path.to_path_buf()))
            && whose != Whose::Reset
        {
            return Err(Failure::usage(format!("{} is there, and is not the file of the old PIN", path.display())));
        }
        if generate && target.is_none() {
            return Err(
                Failure::usage("a PIN that is made up has to be written to a file").hint("add --new-pin-file FILE")
            );
        }
        let old = read(&source, &format!("Present {old_name} of token {label:?}"))?;
        let new = match generate {
            true => random_pin()?,
            false => {
                let name = if whose == Whose::So { "SO PIN" } else { "user PIN" };
                Wanted { name, file: None, descriptor: new_pin_fd }.get_new(&label)?
            }
        };
        address.make_lock_dir()?;
        let file = target.map(|path| PinFile::prepare(&path, &new)).transpose()?;
        let change = match whose {
            Whose::User => PinChange::User { old, new },
            Whose::So => PinChange::SecurityOfficer { old, new },
            Whose::Reset => PinChange::Reset { so_pin: old, new },
        };
        let Address { module, environment: module_environment, lock_dir, label: _, serial, pin: _ } = address;
        let request = ChangeTokenPin { module, module_environment, lock_dir, label: label.clone(), serial, change };
        match chancery_hsm::change_pin(&worker_command(), request).await {
            Ok(()) => {
                let written_to = file.map(PinFile::keep).transpose()?;
                out.show(&ChangedView { label, written_to })?;
                Ok(Exit::Done)
            }
            Err(PinChangeFailure::Unchanged(error)) => {
                file.map(PinFile::discard).transpose()?;
                Err(failed(error))
            }
            Err(PinChangeFailure::Unknown(error)) => {
                let failure = failed(error);
                Err(match &file {
                    Some(file) => failure.hint(file.both()),
                    None => failure.hint("whether the old PIN holds or the new one is not known"),
                })
            }
        }
    }
}

impl View for ChangedView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.written_to {
            Some(path) => writeln!(out, "changed; the new PIN is in {}", path.display()),
            None => writeln!(out, "changed"),
        }
    }
}

//! `chancery token doctor`.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use chancery_hsm::{AlgorithmOffer, Check, Examination, Examine, Level, PinSource, SessionRate};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::address::{Address, AddressArguments};
use super::init::failed;
use super::pins::{Wanted, read};
use crate::commands::serve::worker_command;
use crate::exit::{Exit, Failure};
use crate::output::{Output, View, fields, rows};

/// What makes the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// A finding of level stops
    Stops,
    /// A finding of level warning or stops
    Warning,
}

/// Arguments of `token doctor`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Asks the module and the token what a team wants to know before it trusts them, and tries what they say: which algorithms, \
with right signatures? Do parameters count? Can a key that is not to leave be got out? How many sessions, how fast, right \
with several threads? Each finding has a level (ok, note, warning, stops) and says what to do.

It works in a process of its own, which a module may crash or hang: that is a finding, and the rest is asked all the same. The \
token's lock is held meanwhile: a service that holds the token has to be stopped first. What is made in the token has the \
label chancery-doctor, and is gone afterwards, after Ctrl-C, too.

Without a PIN it tells what can be told without a login; without a label it examines the module alone.

The exit code is 0 where nothing stops the use of the token, 1 where something does, 3 where the examination cannot begin.

Examples:
  chancery token doctor --config /etc/chancery/chancery.toml
  chancery token doctor --module libsofthsm2.so --env SOFTHSM2_CONF --label payments --pin-file pin
  chancery token doctor --module vendor.so                                # no token, no PIN
  chancery token doctor --config chancery.toml --only rates --sessions 64
  chancery token doctor --config c.toml -o json | jq '.findings[] | select(.level == \"stops\")'")]
pub struct Doctor {
    #[command(flatten)]
    address: AddressArguments,
    /// File with the user PIN [default with --config: as configured]
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Descriptor with the user PIN; 0 is standard input
    #[arg(long, value_name = "NUMBER", conflicts_with = "pin_file")]
    pin_fd: Option<u32>,
    /// Ask for the user PIN at the terminal
    #[arg(long, conflicts_with_all = ["pin_file", "pin_fd"])]
    ask_pin: bool,
    /// Do not log in, whatever the configuration says
    #[arg(long, conflicts_with_all = ["pin_file", "pin_fd", "ask_pin"])]
    no_login: bool,
    /// Ask only this; may be given several times
    #[arg(long, value_name = "CHECK", value_parser = check())]
    only: Vec<Check>,
    /// Most sessions that are tried at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    sessions: u16,
    /// How long each rate is measured, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    measure: u32,
    /// Without a sign of life for so long, in seconds, the module is taken for hung
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u16).range(1..=3600))]
    patience: u16,
    /// Which findings make the exit code 1
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "stops")]
    fail_on: FailOn,
}

impl Doctor {
    /// Examines.
    pub async fn run(self, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { address, pin_file, pin_fd, ask_pin, no_login, only, sessions, measure, patience, fail_on } = self;
        let address = address.resolve()?;
        let source = match (Wanted { name: "user PIN", file: pin_file, descriptor: pin_fd }.source()?, &address.pin) {
            _ if no_login => None,
            (PinSource::Terminal, _) if ask_pin => Some(PinSource::Terminal),
            (PinSource::Terminal, configured) => configured.clone(),
            (named, _) => Some(named),
        };
        let pin = match (&source, &address.label) {
            (Some(source), Some(label)) => Some(read(source, &format!("User PIN of token {label:?}"))?),
            (Some(_), None) => {
                return Err(Failure::usage("a PIN is for a token, and none is named").hint("add --label LABEL"));
            }
            (None, _) => None,
        };
        if address.label.is_some() {
            address.make_lock_dir()?;
        }
        let Address { module, environment: module_environment, lock_dir, label, serial, pin: _ } = address;
        let request = Examine {
            module,
            module_environment,
            lock_dir,
            label,
            serial,
            pin,
            checks: if only.is_empty() { Check::ALL.to_vec() } else { only },
            most_sessions: usize::from(sessions),
            measure: Duration::from_millis(u64::from(measure)),
            patience: Duration::from_secs(u64::from(patience)),
        };
        let interrupted = std::cell::Cell::new(false);
        let stop = async {
            chancery_server::exit_on_signal().await;
            interrupted.set(true);
        };
        let shows_progress = io::stderr().is_terminal();
        let progress = |doing: &str| {
            if shows_progress {
                // Progress for people; nothing depends on it.
                let _ignored = writeln!(io::stderr(), "{doing}");
            }
        };
        let examination = chancery_hsm::examine(&worker_command(), request, stop, progress).await.map_err(failed)?;
        let worst = examination.worst();
        out.show(&ExaminationView(examination))?;
        if interrupted.get() {
            return Err(Failure::local("the examination was broken off; what it had made in the token is removed"));
        }
        let least = match fail_on {
            FailOn::Stops => Level::Stops,
            FailOn::Warning => Level::Warning,
        };
        Ok(if worst >= least { Exit::No } else { Exit::Done })
    }
}

/// Checks by their names, which `--help` and completion list.
fn check() -> impl TypedValueParser<Value = Check> {
    PossibleValuesParser::new(Check::ALL.map(Check::as_str)).try_map(|name| {
        Check::ALL.into_iter().find(|check| check.as_str() == name).ok_or_else(|| format!("{name:?} is no check"))
    })
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct ExaminationView(Examination);

impl View for ExaminationView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Examination {
            module,
            token,
            algorithms,
            rates,
            recommended_signing_threads,
            sessions_found: _,
            findings,
            skipped,
        } = &self.0;
        if let Some(module) = module {
            let version = format!("{} {}, PKCS#11 {}", module.description, module.version, module.cryptoki_version);
            fields(out, [("module", version), ("by", module.manufacturer.clone())])?;
        }
        if let Some(token) = token {
            let identity = &token.identity;
            let (firmware, hardware) = (token.firmware_version.clone(), token.hardware_version.clone());
            fields(
                out,
                [
                    ("token", identity.label.clone()),
                    ("serial", identity.serial.clone()),
                    ("model", format!("{} {}", identity.manufacturer, identity.model)),
                    ("firmware", firmware),
                    ("hardware", hardware),
                ],
            )?;
        }
        if !algorithms.is_empty() {
            writeln!(out)?;
            let row = |offer: &AlgorithmOffer| {
                let word = match (&offer.missing, offer.tried) {
                    (None, true) => "yes".to_owned(),
                    (None, false) => "listed".to_owned(),
                    (Some(missing), _) => format!("no: lacks {missing}"),
                };
                [offer.algorithm.clone(), word]
            };
            rows(out, ["ALGORITHM", "OFFERED"], algorithms.iter().map(row))?;
        }
        if !rates.is_empty() {
            writeln!(out)?;
            let row =
                |rate: &SessionRate| [rate.algorithm.clone(), rate.sessions.to_string(), rate.per_second.to_string()];
            rows(out, ["ALGORITHM", "SESSIONS", "PER SECOND"], rates.iter().map(row))?;
        }
        if let Some(threads) = recommended_signing_threads {
            writeln!(out, "\nrecommended: signing_threads = {threads}")?;
        }
        writeln!(out)?;
        for finding in findings {
            writeln!(out, "{:<8} {}: {}", finding.level, finding.check, finding.found)?;
            if !finding.advice.is_empty() {
                writeln!(out, "         -> {}", finding.advice)?;
            }
        }
        if !skipped.is_empty() {
            let skipped: Vec<&str> = skipped.iter().copied().map(Check::as_str).collect();
            writeln!(out, "\nnot examined: {} (a label and a PIN are needed for all of it)", skipped.join(", "))?;
        }
        let (worst, count) =
            (self.0.worst(), findings.iter().filter(|finding| finding.level >= Level::Warning).count());
        match worst {
            Level::Ok | Level::Note => writeln!(out, "\nnothing speaks against the use of it"),
            Level::Warning => writeln!(out, "\nto be looked into before production: {count} findings"),
            Level::Stops => writeln!(out, "\nnot to be used like this: {count} findings of level stops or warning"),
        }
    }
}

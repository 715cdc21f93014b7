//! Finding out about a module and its token: the questions, as [`crate::doctor`] puts them.
//!
//! Each room here asks about one thing. They tell what they are about to do before they do it, so that whoever is left when
//! the module crashes or hangs knows over what.

mod algorithms;
mod objects;
mod parameters;
mod rates;
mod samples;
mod secrecy;
mod sessions;
mod signatures;
mod sweep;
mod threads;
mod token;

use super::fault::Fault;
use super::held::Held;
use super::latch::PinLatch;
use super::lock::TokenLock;
use super::mechanism::EdwardsName;
use super::{module, probe, slots};
use crate::doctor::{Check, Examined, Finding, Level, ModuleDescription, OBJECT_ID};
use crate::wire::{Examine, Started, TokenFacts, write_control};
use crate::{HsmErrorKind, LOCK_PATIENCE, Pin};
use chancery_model::{TokenObjectId, Uid};
use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// CKA_ID of what an examination makes.
fn object_id() -> TokenObjectId {
    Uid::from_bytes(OBJECT_ID).into()
}

/// Why a room was left early.
enum Left {
    /// Nobody listens any more.
    Unheard(io::Error),
    /// The module or the token failed.
    Failed(Fault),
}

impl From<io::Error> for Left {
    fn from(error: io::Error) -> Self {
        Self::Unheard(error)
    }
}

impl From<Fault> for Left {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// Asks the questions of a task, one after the other.
pub(super) fn run(control: &UnixStream, task: Examine) -> io::Result<()> {
    let Examine { module, label, serial, pin, lock_dir, checks, most_sessions, milliseconds } = task;
    let lock = label.as_deref().map(|label| TokenLock::acquire(&lock_dir, label, serial.as_deref(), LOCK_PATIENCE));
    let _lock = match lock.transpose() {
        Ok(lock) => lock,
        Err(fault) => return write_control(control, &Started::Failed(fault.into())),
    };
    write_control(control, &Started::Examining)?;
    let told = Teller { control, check: Check::Module };
    let limits = Limits { most_sessions: usize::try_from(most_sessions).unwrap_or(usize::MAX), milliseconds };
    let mut doctor = Doctor { told, limits, pkcs11: None, place: None, patient: None };
    // A worker that follows one which was lost begins in the middle.
    match doctor.open(&module, label.as_deref(), serial.as_deref(), pin, &lock_dir, &checks) {
        Ok(()) => {}
        Err(Left::Unheard(error)) => return Err(error),
        Err(Left::Failed(fault)) => return doctor.told.failed("opening the token", &fault),
    }
    let heard = checks.into_iter().try_for_each(|check| doctor.ask(check));
    doctor.leave();
    heard
}

/// How far measurements go.
#[derive(Debug, Clone, Copy)]
struct Limits {
    most_sessions: usize,
    milliseconds: u64,
}

/// Tells the service what is done and found.
struct Teller<'a> {
    control: &'a UnixStream,
    check: Check,
}

impl Teller<'_> {
    fn tell(&self, examined: &Examined) -> io::Result<()> {
        write_control(self.control, examined)
    }

    /// About to do something in which a kill does no harm.
    fn step(&self, doing: impl Into<String>) -> io::Result<()> {
        self.tell(&Examined::Step { doing: doing.into(), delicate: false })
    }

    /// About to log in, or to write to the token.
    fn delicate_step(&self, doing: impl Into<String>) -> io::Result<()> {
        self.tell(&Examined::Step { doing: doing.into(), delicate: true })
    }

    fn finding(&self, level: Level, found: impl Into<String>, advice: impl Into<String>) -> io::Result<()> {
        let (found, advice) = (found.into(), advice.into());
        self.tell(&Examined::Finding(Finding { level, check: self.check, found, advice }))
    }

    fn ok(&self, found: impl Into<String>) -> io::Result<()> {
        self.finding(Level::Ok, found, "")
    }

    fn note(&self, found: impl Into<String>, advice: impl Into<String>) -> io::Result<()> {
        self.finding(Level::Note, found, advice)
    }

    fn warning(&self, found: impl Into<String>, advice: impl Into<String>) -> io::Result<()> {
        self.finding(Level::Warning, found, advice)
    }

    fn stops(&self, found: impl Into<String>, advice: impl Into<String>) -> io::Result<()> {
        self.finding(Level::Stops, found, advice)
    }

    /// Something failed that should have worked.
    fn failed(&self, what: &str, fault: &Fault) -> io::Result<()> {
        let function = if fault.function.is_empty() { String::new() } else { format!(" in {}", fault.function) };
        self.stops(
            format!("{what} failed{function}: {}", fault.message),
            "find out from the module's log or its maker why; Chancery needs this",
        )
    }
}

/// What has been opened so far.
struct Doctor<'a> {
    told: Teller<'a>,
    limits: Limits,
    pkcs11: Option<Pkcs11>,
    place: Option<(Slot, TokenInfo)>,
    patient: Option<Patient>,
}

/// A token that is logged in to.
struct Patient {
    held: Arc<Held>,
    facts: TokenFacts,
    edwards: EdwardsName,
    writing: Session,
}

impl Doctor<'_> {
    /// Opens as much as there is.
    fn open(
        &mut self,
        path: &std::path::Path,
        label: Option<&str>,
        serial: Option<&str>,
        pin: Option<Pin>,
        lock_dir: &std::path::Path,
        checks: &[Check],
    ) -> Result<(), Left> {
        if let Some(first) = checks.first() {
            self.told.check = *first;
            self.told.tell(&Examined::Begin(*first))?;
        }
        self.told.step("loading the module")?;
        let pkcs11 = match module::load(path) {
            Ok(pkcs11) => pkcs11,
            Err(fault) => {
                self.told.failed("loading the module", &fault)?;
                return Ok(self.told.tell(&Examined::NoModule)?);
            }
        };
        self.told.step("initialising the module")?;
        if let Err(fault) = module::initialise(&pkcs11) {
            self.told.failed("initialising the module for several threads", &fault)?;
            return Ok(self.told.tell(&Examined::NoModule)?);
        }
        let Some(label) = label else {
            self.pkcs11 = Some(pkcs11);
            return Ok(());
        };
        self.told.step("looking for the token")?;
        let found = module::find_token(&pkcs11, module::Wanted { label, serial, seen_serial: None });
        let (slot, info) = match found {
            Ok(found) => found,
            Err(fault) => {
                // Finalised by now.
                module::initialise(&pkcs11)?;
                self.pkcs11 = Some(pkcs11);
                self.told.check = Check::Token;
                self.told.stops(fault.message, "chancery token list --module LIBRARY shows what the module shows")?;
                return Ok(self.told.tell(&Examined::NoToken)?);
            }
        };
        let pin = pin.filter(|_| token::may_log_in(&info));
        let latch = PinLatch::new(lock_dir, label, &slots::text(info.serial_number()));
        self.pkcs11 = Some(pkcs11.clone());
        let logged_in = pin.map(|pin| self.log_in(&pkcs11, slot, &info, pin, latch)).transpose();
        self.place = Some((slot, info));
        match logged_in {
            Ok(Some(patient)) => self.patient = Some(patient),
            Ok(None) => self.told.tell(&Examined::NoLogin)?,
            Err(Left::Failed(fault)) => {
                self.told.check = Check::Token;
                let advice = match fault.kind {
                    HsmErrorKind::PinLatched => {
                        "make sure of the PIN; it is not tried again until the latch is cleared"
                    }
                    _ => "Chancery cannot work without a login",
                };
                self.told.stops(format!("logging in failed: {}", fault.message), advice)?;
                self.told.tell(&Examined::NoLogin)?;
            }
            Err(unheard) => return Err(unheard),
        }
        Ok(())
    }

    fn log_in(
        &self,
        pkcs11: &Pkcs11,
        slot: Slot,
        info: &TokenInfo,
        pin: Pin,
        latch: PinLatch,
    ) -> Result<Patient, Left> {
        self.told.delicate_step("logging in")?;
        let facts = probe::facts(pkcs11, slot, info)?;
        let held = Arc::new(Held::open(pkcs11.clone(), slot, pin, latch, false)?);
        let writing = held.open_writing_session()?;
        let mut patient = Patient { held, facts, edwards: EdwardsName::Oid, writing };
        let left_behind = sweep::run(&patient.held, &patient.writing)?;
        if left_behind > 0 {
            self.told
                .note(format!("removed {left_behind} objects that an earlier examination had left in the token"), "")?;
        }
        self.told.step("making a session key of each kind")?;
        patient.edwards = probe::keys(&patient.writing, &mut patient.facts)?;
        Ok(patient)
    }

    /// Asks one question. Whatever becomes of it, nothing of it stays in the token.
    fn ask(&mut self, check: Check) -> io::Result<()> {
        self.told.check = check;
        if !self.can(check) {
            return Ok(());
        }
        self.told.tell(&Examined::Begin(check))?;
        let asked = self.put(check);
        let swept = match &self.patient {
            Some(patient) => sweep::run(&patient.held, &patient.writing).map(drop),
            None => Ok(()),
        };
        match asked {
            Ok(()) => {}
            Err(Left::Unheard(error)) => return Err(error),
            Err(Left::Failed(fault)) => self.told.failed("this check", &fault)?,
        }
        if let Err(fault) = swept {
            self.told.failed("removing what the check had made", &fault)?;
        }
        self.told.tell(&Examined::End(check))
    }

    /// Whether there is what the question is about.
    fn can(&self, check: Check) -> bool {
        match check {
            Check::Module => self.pkcs11.is_some(),
            Check::Token | Check::Algorithms => self.place.is_some(),
            Check::Signatures
            | Check::Parameters
            | Check::Secrecy
            | Check::Objects
            | Check::Sessions
            | Check::Threads
            | Check::Rates
            | Check::Absence => self.patient.is_some(),
        }
    }

    fn put(&mut self, check: Check) -> Result<(), Left> {
        let Self { told, limits, pkcs11, place, patient } = self;
        match (check, pkcs11, place, patient) {
            (Check::Module, Some(pkcs11), ..) => describe_module(told, pkcs11),
            (Check::Token, Some(pkcs11), Some((slot, info)), _) => token::examine(told, pkcs11, *slot, info),
            (Check::Algorithms, Some(pkcs11), Some((slot, info)), patient) => {
                algorithms::examine(told, pkcs11, *slot, info, patient.as_ref())
            }
            (Check::Signatures, _, _, Some(patient)) => signatures::examine(told, patient),
            (Check::Parameters, _, _, Some(patient)) => parameters::examine(told, patient),
            (Check::Secrecy, _, _, Some(patient)) => secrecy::examine(told, patient),
            (Check::Objects, _, _, Some(patient)) => objects::examine(told, patient),
            (Check::Sessions, _, _, Some(patient)) => sessions::examine(told, patient, *limits),
            (Check::Threads, _, _, Some(patient)) => threads::examine(told, patient, *limits),
            (Check::Rates, _, _, Some(patient)) => rates::examine(told, patient, *limits),
            (Check::Absence, _, _, Some(patient)) => sweep::examine(told, patient),
            // `can` has asked for these.
            (
                Check::Module
                | Check::Token
                | Check::Algorithms
                | Check::Signatures
                | Check::Parameters
                | Check::Secrecy
                | Check::Objects
                | Check::Sessions
                | Check::Threads
                | Check::Rates
                | Check::Absence,
                ..,
            ) => Ok(()),
        }
    }

    /// Every session goes before the module is finalised.
    fn leave(self) {
        let Self { pkcs11, patient, .. } = self;
        if let Some(Patient { held, writing, .. }) = patient {
            held.close(writing);
            held.release();
        }
        // There is nobody left to be told, and the process ends.
        let _unsaid = pkcs11.map(|pkcs11| module::finalise(&pkcs11));
    }
}

fn describe_module(told: &Teller<'_>, pkcs11: &Pkcs11) -> Result<(), Left> {
    told.step("asking the module for its name and version")?;
    let info = pkcs11.get_library_info().map_err(|error| Fault::pkcs11("reading the module's description", &error))?;
    let description = slots::text(info.library_description());
    told.tell(&Examined::Module(ModuleDescription {
        manufacturer: slots::text(info.manufacturer_id()),
        description: description.clone(),
        version: info.library_version().to_string(),
        cryptoki_version: info.cryptoki_version().to_string(),
    }))?;
    told.ok("the module can be loaded, and serves several threads with the system's locks (CKF_OS_LOCKING_OK)")?;
    if description.to_ascii_uppercase().contains("FIPS") {
        told.note(
            format!("the module's description speaks of FIPS: {description:?}"),
            "a claim and no proof: look for the certificate of this very version at NIST's CMVP, and for its mode of operation",
        )?;
    }
    Ok(())
}

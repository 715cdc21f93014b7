//! Changing a PIN of a token.

use super::fault::Fault;
use super::initialise::check_pins;
use super::latch::PinLatch;
use super::lock::TokenLock;
use super::module;
use super::slots::text;
use crate::wire::{ChangePin, Started};
use crate::{HsmErrorKind, LOCK_PATIENCE, Pin, PinChange};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

/// A change that did not come to its end.
enum Failed {
    /// The old PIN still holds.
    Before(Fault),
    /// The token was asked, and did not say what it did.
    During(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Before(fault)
    }
}

/// Changes it, and tells a change that did not happen from one that perhaps did.
pub(super) fn run(task: ChangePin) -> Started {
    match change(task) {
        Ok(()) => Started::PinChanged,
        Err(Failed::Before(fault)) => Started::Failed(fault.into()),
        Err(Failed::During(fault)) => Started::PinUnknown(fault.into()),
    }
}

fn change(task: ChangePin) -> Result<(), Failed> {
    let ChangePin { module, label, serial, lock_dir, change } = task;
    // By the label alone, which excludes whoever knows the token by its serial, too.
    let _lock = TokenLock::acquire(&lock_dir, &label, None, LOCK_PATIENCE)?;
    let pkcs11 = module::load(&module)?;
    let (slot, info) =
        module::find_token(&pkcs11, module::Wanted { label: &label, serial: serial.as_deref(), seen_serial: None })?;
    let latch = PinLatch::new(&lock_dir, &label, &text(info.serial_number()));
    let session = pkcs11.open_rw_session(slot).map_err(|error| Fault::pkcs11("opening a session", &error))?;
    let (whose, new) = match &change {
        PinChange::User { old, new } => {
            check_pins(&info, &[("new user PIN", new)])?;
            latch.check()?;
            log_in(&session, UserType::User, old).map_err(|fault| match fault.kind {
                HsmErrorKind::PinLatched => latch.engage(&fault),
                _ => fault,
            })?;
            set(&session, old, new)?;
            (UserType::User, new)
        }
        PinChange::SecurityOfficer { old, new } => {
            check_pins(&info, &[("new SO PIN", new)])?;
            log_in(&session, UserType::So, old)?;
            set(&session, old, new)?;
            (UserType::So, new)
        }
        PinChange::Reset { so_pin, new } => {
            check_pins(&info, &[("new user PIN", new)])?;
            log_in(&session, UserType::So, so_pin)?;
            session
                .init_pin(&AuthPin::from(new.expose()))
                .map_err(|error| of_the_change(Fault::pkcs11("setting the user PIN", &error)))?;
            (UserType::User, new)
        }
    };
    // The token has said yes. Whether it means it is tried once, with the PIN that it has just taken.
    let tried = session
        .logout()
        .map_err(|error| Fault::pkcs11("logging out to try the new PIN", &error))
        .and_then(|()| log_in(&session, whose, new));
    tried.map_err(|fault| {
        let message = format!("the token said that it took the new PIN, and then: {}", fault.message);
        Failed::During(Fault { message, ..fault })
    })?;
    if matches!(whose, UserType::User) {
        // A refusal of the old PIN says nothing about the new one.
        latch.release()?;
    }
    drop(session);
    module::finalise(&pkcs11)?;
    Ok(())
}

fn log_in(session: &Session, whose: UserType, pin: &Pin) -> Result<(), Fault> {
    let who = if matches!(whose, UserType::So) { "security officer" } else { "user" };
    session
        .login(whose, Some(&AuthPin::from(pin.expose())))
        .map_err(|error| Fault::pkcs11(format!("logging in as {who}"), &error))
}

fn set(session: &Session, old: &Pin, new: &Pin) -> Result<(), Failed> {
    session
        .set_pin(&AuthPin::from(old.expose()), &AuthPin::from(new.expose()))
        .map_err(|error| of_the_change(Fault::pkcs11("changing the PIN", &error)))
}

/// A token that names a reason has refused; one that only failed may have done it.
fn of_the_change(fault: Fault) -> Failed {
    match fault.kind {
        HsmErrorKind::OutcomeUnknown
        | HsmErrorKind::Session
        | HsmErrorKind::TokenAbsent
        | HsmErrorKind::Memory
        | HsmErrorKind::Module
        | HsmErrorKind::Bug => Failed::During(fault),
        HsmErrorKind::PinLatched => Failed::Before(Fault {
            message: format!("{}: the new PIN is not one that the token takes", fault.message),
            kind: HsmErrorKind::Configuration,
            ..fault
        }),
        HsmErrorKind::KeyNotFound
        | HsmErrorKind::KeyAmbiguous
        | HsmErrorKind::LoginLost
        | HsmErrorKind::Capacity
        | HsmErrorKind::Overloaded
        | HsmErrorKind::Configuration
        | HsmErrorKind::InputLength
        | HsmErrorKind::Deadline
        | HsmErrorKind::WorkerLost
        | HsmErrorKind::WrongSignature
        | HsmErrorKind::Stopping => Failed::Before(fault),
    }
}

//! Making a new token in an uninitialised slot.

use super::fault::Fault;
use super::lock::{self, TokenLock};
use super::module::{self, SlotReading};
use crate::wire::{Initialise, Started};
use crate::{HsmErrorKind, LOCK_PATIENCE, Pin};
use cryptoki::context::Pkcs11;
use cryptoki::session::UserType;
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use std::path::Path;
use std::time::Duration;

/// Looks that must all find no token of the label before one is made, each after initialising the module anew: of
/// many processes that do so at the same moment, some see no token though it is there. One is enough where the storage is
/// new.
const LOOKS: u64 = 3;

/// Looks after which a slot that cannot be read counts as broken.
const MOST_LOOKS: u64 = 9;

/// Makes a token with this label, unless one exists or ever existed.
pub(super) fn run(task: Initialise) -> Result<Started, Fault> {
    let Initialise { module, label, slot, so_pin, user_pin, lock_dir, storage_is_new } = task;
    if label.is_empty() || label.len() > 32 {
        let message = format!("a token's label has 1 to 32 bytes; {label:?} has {}", label.len());
        return Err(Fault::new(HsmErrorKind::Configuration, message));
    }
    let _lock = TokenLock::acquire(&lock_dir, &label, None, LOCK_PATIENCE)?;
    let mark = lock::file(&lock_dir, &label, None, "initialised");
    check_mark(&mark, &label)?;
    let pkcs11 = module::load(&module)?;
    look_for_absence(&pkcs11, &label, if storage_is_new { 1 } else { LOOKS })?;
    let (slot, info) = free_slot(&pkcs11, slot, storage_is_new)?;
    check_pins(&info, &[("SO PIN", &so_pin), ("user PIN", &user_pin)])?;
    let so_pin = AuthPin::from(so_pin.expose());
    pkcs11.init_token(slot, &so_pin, &label).map_err(|error| Fault::pkcs11("initialising the token", &error))?;
    let serial = set_user_pin(&pkcs11, slot, &so_pin, &user_pin, &label)?;
    note_mark(&mark, &serial)?;
    module::finalise(&pkcs11)?;
    Ok(Started::Initialised { serial })
}

/// Refuses PINs of a length that the token says it does not take, before anything is done to it.
pub(super) fn check_pins(info: &TokenInfo, pins: &[(&str, &Pin)]) -> Result<(), Fault> {
    let (least, most) = (info.min_pin_length(), info.max_pin_length());
    // Zeros, and the like of CK_UNAVAILABLE_INFORMATION, say nothing.
    if most == 0 || least > most {
        return Ok(());
    }
    match pins.iter().find(|(_, pin)| !(least..=most).contains(&pin.expose().len())) {
        None => Ok(()),
        Some((which, _)) => Err(Fault::new(
            HsmErrorKind::Configuration,
            format!(
                "the token takes PINs of {least} to {most} bytes, and the {which} has another length; nothing was done"
            ),
        )),
    }
}

/// Sets the user's PIN of a token that was initialised a moment ago. Answers its serial number.
pub(super) fn set_user_pin(
    pkcs11: &Pkcs11,
    slot: Slot,
    so_pin: &AuthPin,
    user_pin: &Pin,
    label: &str,
) -> Result<String, Fault> {
    let set = || -> Result<(), Fault> {
        let session = pkcs11.open_rw_session(slot).map_err(|error| Fault::pkcs11("opening a session", &error))?;
        session
            .login(UserType::So, Some(so_pin))
            .map_err(|error| Fault::pkcs11("logging in as security officer", &error))?;
        session
            .init_pin(&AuthPin::from(user_pin.expose()))
            .map_err(|error| Fault::pkcs11("setting the user PIN", &error))
    };
    set().map_err(|fault| {
        let message = format!(
            "{}; the token {label:?} is there now, and empty, but has no user PIN: initialise it anew",
            fault.message
        );
        Fault { message, ..fault }
    })?;
    let info = pkcs11.get_token_info(slot).map_err(|error| Fault::pkcs11("reading the new token", &error))?;
    Ok(info.serial_number().trim_end().to_owned())
}

/// Notes that a token of this label was made.
pub(super) fn note_mark(mark: &Path, serial: &str) -> Result<(), Fault> {
    std::fs::write(mark, format!("serial {serial}\n")).map_err(|error| {
        Fault::new(
            HsmErrorKind::Configuration,
            format!("the token was made, but writing {} failed: {error}", mark.display()),
        )
    })
}

/// Initialises the module until `looks` looks in a row found no such token and every slot readable. The module stays
/// initialised.
fn look_for_absence(pkcs11: &Pkcs11, label: &str, looks: u64) -> Result<(), Fault> {
    let mut clean = 0;
    let mut attempt = 0;
    loop {
        attempt += 1;
        module::initialise(pkcs11)?;
        match module::read_slots(pkcs11).and_then(|slots| check_absent(&slots, label)) {
            Ok(()) => clean += 1,
            Err(fault) if fault.kind == HsmErrorKind::Configuration || attempt >= MOST_LOOKS => return Err(fault),
            Err(_) => clean = 0,
        }
        if clean == looks {
            return Ok(());
        }
        module::finalise(pkcs11)?;
        std::thread::sleep(Duration::from_millis(20 * attempt + u64::from(std::process::id() % 17)));
    }
}

fn check_mark(mark: &Path, label: &str) -> Result<(), Fault> {
    match std::fs::read_to_string(mark) {
        Ok(serial) => Err(Fault::new(
            HsmErrorKind::Configuration,
            format!(
                "a token {label:?} ({}) was made here before; not being visible now is no reason to make another. \
                 If its storage is truly gone, remove {}",
                serial.trim(),
                mark.display()
            ),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Fault::new(HsmErrorKind::Configuration, format!("cannot read {}: {error}", mark.display()))),
    }
}

fn check_absent(slots: &[SlotReading], label: &str) -> Result<(), Fault> {
    for (slot, token) in slots {
        match token {
            Ok(info) if info.token_initialized() && info.label().trim_end() == label => {
                let serial = info.serial_number().trim_end();
                let message = format!("a token {label:?} exists already (serial {serial}); choose another label");
                return Err(Fault::new(HsmErrorKind::Configuration, message));
            }
            Ok(_) => {}
            Err(error) => {
                // It might be the one.
                let fault = Fault::pkcs11(format!("slot {slot} cannot be read, so no token is made"), error);
                return Err(fault);
            }
        }
    }
    Ok(())
}

/// The slot to make a token in: the one with this number, or else the only one that is free. In storage that is new the first
/// one will do: nobody else's can be there.
fn free_slot(pkcs11: &Pkcs11, wanted: Option<u64>, storage_is_new: bool) -> Result<(Slot, TokenInfo), Fault> {
    let refused = |message: String| Err(Fault::new(HsmErrorKind::Configuration, message));
    let slots = module::read_slots(pkcs11)?.into_iter();
    let mut free: Vec<_> = slots
        .filter_map(|(slot, token)| token.ok().filter(|info| !info.token_initialized()).map(|info| (slot, info)))
        .collect();
    if let Some(wanted) = wanted {
        return match free.into_iter().find(|(slot, _)| slot.id() == wanted) {
            Some(found) => Ok(found),
            None => refused(format!("slot {wanted} holds no uninitialised token; an initialised one is never taken")),
        };
    }
    if storage_is_new {
        free.truncate(1);
    }
    match (free.pop(), free.as_slice()) {
        (None, _) => refused("the module shows no slot with an uninitialised token to make one in".to_owned()),
        (Some(only), []) => Ok(only),
        (Some((last, _)), others) => {
            let numbers: Vec<_> =
                others.iter().map(|(slot, _)| slot.id()).chain([last.id()]).map(|id| id.to_string()).collect();
            refused(format!("several slots hold an uninitialised token ({}): say which", numbers.join(", ")))
        }
    }
}

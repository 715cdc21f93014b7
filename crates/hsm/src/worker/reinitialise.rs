//! Wiping a token and making it anew.

use super::fault::Fault;
use super::initialise::{check_pins, note_mark, set_user_pin};
use super::lock::TokenLock;
use super::{lock, module};
use crate::LOCK_PATIENCE;
use crate::wire::{Reinitialise, Started};
use cryptoki::types::AuthPin;

/// Destroys every object of the one token that has this label (and serial), and sets the user's PIN.
pub(super) fn run(task: Reinitialise) -> Result<Started, Fault> {
    let Reinitialise { module, label, serial, so_pin, user_pin, lock_dir } = task;
    // By the label alone, which excludes whoever knows the token by its serial, too.
    let _lock = TokenLock::acquire(&lock_dir, &label, None, LOCK_PATIENCE)?;
    let pkcs11 = module::load(&module)?;
    let (slot, info) =
        module::find_token(&pkcs11, module::Wanted { label: &label, serial: serial.as_deref(), seen_serial: None })?;
    check_pins(&info, &[("user PIN", &user_pin)])?;
    let so_pin = AuthPin::from(so_pin.expose());
    pkcs11.init_token(slot, &so_pin, &label).map_err(|error| {
        let fault = Fault::pkcs11("initialising the token anew", &error);
        match fault.kind {
            crate::HsmErrorKind::PinLatched => Fault {
                message: format!(
                    "{}: the token refused the security officer's PIN and is as it was; it may count refusals and lock \
                     after a few, so make sure of the PIN first",
                    fault.message
                ),
                ..fault
            },
            _ => fault,
        }
    })?;
    let serial = set_user_pin(&pkcs11, slot, &so_pin, &user_pin, &label)?;
    note_mark(&lock::file(&lock_dir, &label, None, "initialised"), &serial)?;
    module::finalise(&pkcs11)?;
    Ok(Started::Initialised { serial })
}

//! Which slots a module shows, and which tokens are in them. No token is opened.

use super::fault::Fault;
use super::module;
use crate::wire::{ListSlots, Started};
use crate::{SlotReport, SlotToken, TokenIdentity};
use cryptoki::context::Pkcs11;
use cryptoki::slot::{Slot, TokenInfo};

/// Lists them. One bad slot does not hide the others.
pub(super) fn run(task: &ListSlots) -> Result<Started, Fault> {
    let pkcs11 = module::load(&task.module)?;
    module::initialise(&pkcs11)?;
    let slots = pkcs11.get_all_slots().map_err(|error| Fault::pkcs11("listing slots", &error))?;
    let reports = slots.into_iter().map(|slot| report(&pkcs11, slot)).collect();
    module::finalise(&pkcs11)?;
    Ok(Started::Slots(reports))
}

fn report(pkcs11: &Pkcs11, slot: Slot) -> SlotReport {
    let number = slot.id();
    let unreadable = |what, error: &_| SlotToken::Unreadable { why: Fault::pkcs11(what, error).message };
    match pkcs11.get_slot_info(slot) {
        Ok(info) => SlotReport {
            slot: number,
            description: text(info.slot_description()),
            token: if info.token_present() {
                match pkcs11.get_token_info(slot) {
                    Ok(token) => describe(&token),
                    Err(error) => unreadable("reading the token", &error),
                }
            } else {
                SlotToken::None
            },
        },
        Err(error) => {
            SlotReport { slot: number, description: String::new(), token: unreadable("reading the slot", &error) }
        }
    }
}

fn describe(token: &TokenInfo) -> SlotToken {
    let identity = TokenIdentity {
        label: if token.token_initialized() { text(token.label()) } else { String::new() },
        serial: text(token.serial_number()),
        manufacturer: text(token.manufacturer_id()),
        model: text(token.model()),
    };
    if token.token_initialized() {
        SlotToken::Initialised {
            identity,
            user_pin_is_set: token.user_pin_initialized(),
            user_pin_is_locked: token.user_pin_locked(),
        }
    } else {
        SlotToken::Uninitialised(identity)
    }
}

/// A fixed-width field without its padding, which is blanks by the standard and zeros with some vendors.
pub(super) fn text(field: &str) -> String {
    field.trim_end_matches([' ', '\0']).to_owned()
}

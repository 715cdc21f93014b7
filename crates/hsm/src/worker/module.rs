//! Loading a PKCS#11 module and finding the one token that is ours in it.

use super::fault::Fault;
use crate::{HealthCause, HsmErrorKind};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::{Slot, TokenInfo};
use std::path::Path;
use std::time::Duration;

/// Waits between attempts to see a token. Many processes that initialise SoftHSM at the same moment may see none;
/// finalising and initialising again cures it, looking again alone does not.
const BACK_OFF_MILLISECONDS: [u64; 6] = [0, 50, 100, 200, 400, 800];

/// Loads a module, without initialising it.
pub(super) fn load(path: &Path) -> Result<Pkcs11, Fault> {
    Pkcs11::new(path).map_err(|error| {
        let fault = Fault::pkcs11(format!("loading the PKCS#11 module {}", path.display()), &error);
        match error {
            // Its C_GetFunctionList was there, and said no: another time it may not.
            Error::Pkcs11(..) => fault,
            _ => fault.because(HealthCause::ModuleNotLoadable),
        }
    })
}

/// Initialises a module for several threads.
pub(super) fn initialise(pkcs11: &Pkcs11) -> Result<(), Fault> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(Fault::pkcs11("initialising the PKCS#11 module", &error)),
    }
}

/// Undoes [`initialise`]. Every session must be gone: an old one that is closed later closes a new one, since
/// session numbers begin again.
pub(super) fn finalise(pkcs11: &Pkcs11) -> Result<(), Fault> {
    pkcs11.clone().finalize().map_err(|error| Fault::pkcs11("finalising the PKCS#11 module", &error))
}

/// A slot, and the token in it or why it cannot be read.
pub(super) type SlotReading = (Slot, Result<TokenInfo, Error>);

/// Looks into every slot that holds a token. One bad token does not hide the others.
pub(super) fn read_slots(pkcs11: &Pkcs11) -> Result<Vec<SlotReading>, Fault> {
    let slots = pkcs11.get_slots_with_token().map_err(|error| Fault::pkcs11("listing slots", &error))?;
    Ok(slots.into_iter().map(|slot| (slot, pkcs11.get_token_info(slot))).collect())
}

/// The token that is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) label: &'a str,
    /// As configured.
    pub(super) serial: Option<&'a str>,
    /// As an earlier worker saw it.
    pub(super) seen_serial: Option<&'a str>,
}

/// Initialises the module and finds the token with this label and these serials. The module stays initialised.
///
/// # Errors
/// [`HsmErrorKind::TokenAbsent`] where it is not seen after several attempts, [`HsmErrorKind::Configuration`] where
/// several tokens match. A token is never made here.
pub(super) fn find_token(pkcs11: &Pkcs11, wanted: Wanted<'_>) -> Result<(Slot, TokenInfo), Fault> {
    let mut last = Fault::new(HsmErrorKind::TokenAbsent, "never looked");
    for wait in BACK_OFF_MILLISECONDS {
        // Not in step with other processes that wait for the same reason.
        let stagger = if wait == 0 { 0 } else { u64::from(std::process::id() % 37) };
        std::thread::sleep(Duration::from_millis(wait + stagger));
        initialise(pkcs11)?;
        match look(pkcs11, wanted) {
            Ok(found) => return Ok(found),
            Err(fault) if fault.kind == HsmErrorKind::Configuration => return Err(fault),
            Err(fault) => last = fault,
        }
        finalise(pkcs11)?;
    }
    Err(last)
}

fn look(pkcs11: &Pkcs11, wanted: Wanted<'_>) -> Result<(Slot, TokenInfo), Fault> {
    let Wanted { label, serial, seen_serial } = wanted;
    let mut seen = Vec::new();
    let mut matching = Vec::new();
    let mut others = 0;
    for (slot, token) in read_slots(pkcs11)? {
        match token {
            Ok(info) if info.token_initialized() => {
                let (its_label, its_serial) = (info.label().trim_end(), info.serial_number().trim_end());
                seen.push(format!("{its_label:?} (serial {its_serial})"));
                if its_label == label {
                    if [serial, seen_serial].into_iter().flatten().all(|serial| serial == its_serial) {
                        matching.push((slot, info));
                    } else {
                        others += 1;
                    }
                }
            }
            Ok(_) => {}
            Err(error) => seen.push(format!("unreadable in slot {slot} ({})", Fault::pkcs11("", &error).message)),
        }
    }
    let wanted = match serial.or(seen_serial) {
        Some(serial) => format!("{label:?} (serial {serial})"),
        None => format!("{label:?}"),
    };
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
    match matching.pop() {
        None if others > 0 => Err(Fault::new(
            HsmErrorKind::TokenAbsent,
            format!(
                "the module shows no token {wanted}, and one of that label with another serial, which is not taken for it; \
                 tokens it shows: {seen}; put the right one back, or correct the serial and start the service again"
            ),
        )
        .because(HealthCause::OtherToken)),
        None => Err(Fault::new(
            HsmErrorKind::TokenAbsent,
            format!("the module shows no token {wanted}; tokens it shows: {seen}; check module, label and serial"),
        )),
        Some(only) if matching.is_empty() => Ok(only),
        Some(_) => Err(Fault::new(
            HsmErrorKind::Configuration,
            format!("several tokens are called {wanted}: {seen}; say which by its serial"),
        )),
    }
}

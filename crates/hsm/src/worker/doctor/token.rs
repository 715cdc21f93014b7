//! What the token says of itself.

use super::{Left, Teller};
use crate::TokenIdentity;
use crate::doctor::{Examined, TokenDescription};
use crate::worker::slots::text;
use cryptoki::context::Pkcs11;
use cryptoki::slot::{Limit, Slot, TokenInfo};
use cryptoki::types::UtcTime;
use std::time::{SystemTime, UNIX_EPOCH};

/// More than this between the token's clock and ours is more than reading it takes.
const CLOCK_TOLERANCE_SECONDS: i64 = 60;

/// Whether a login is tried at all: with one attempt left, a mistake in the PIN locks the token.
pub(super) fn may_log_in(info: &TokenInfo) -> bool {
    info.user_pin_initialized() && !info.user_pin_locked() && !info.user_pin_final_try()
}

pub(super) fn examine(told: &Teller<'_>, pkcs11: &Pkcs11, slot: Slot, info: &TokenInfo) -> Result<(), Left> {
    told.step("reading what the token says of itself")?;
    let identity = TokenIdentity {
        label: text(info.label()),
        serial: text(info.serial_number()),
        manufacturer: text(info.manufacturer_id()),
        model: text(info.model()),
    };
    told.tell(&Examined::Token(TokenDescription {
        identity: identity.clone(),
        firmware_version: info.firmware_version().to_string(),
        hardware_version: info.hardware_version().to_string(),
        sessions_max: known(info.max_session_count()),
    }))?;
    pin(told, info)?;
    if identity.serial.is_empty() {
        told.warning(
            "the token has no serial number",
            "Chancery finds it by its label alone: let no other token have that label",
        )?;
    }
    if !info.login_required() {
        told.warning(
            "the token asks for no login (CKF_LOGIN_REQUIRED is not set)",
            "whoever reaches the module may use its keys: see who that is, or turn login on",
        )?;
    }
    if info.write_protected() {
        told.stops("the token is write-protected", "no key can be made in it: lift the protection")?;
    }
    if info.error_state() {
        told.stops(
            "the token is in an error state (CKF_ERROR_STATE)",
            "its maker's manual says how it gets out of it",
        )?;
    }
    if !info.rng() {
        told.note(
            "the token has no random number generator of its own (CKF_RNG)",
            "GenerateRandomBytes will not work on it",
        )?;
    }
    match pkcs11.get_slot_info(slot) {
        Ok(slot) if slot.removable_device() => {
            told.note("the token can be taken out of its slot (CKF_REMOVABLE_DEVICE)", "see that nobody does")?;
        }
        Ok(_) | Err(_) => {}
    }
    clock(told, info)?;
    let said = format!("{} {}", identity.manufacturer, identity.model);
    if said.to_ascii_uppercase().contains("FIPS") {
        told.note(
            format!("the token speaks of FIPS: {said:?}, firmware {}", info.firmware_version()),
            "a claim and no proof: look for the certificate of this very firmware at NIST's CMVP, and for its mode of operation",
        )?;
    } else {
        told.note(
            format!(
                "the token claims nothing about FIPS (manufacturer, model: {said:?}; firmware {})",
                info.firmware_version()
            ),
            "where FIPS 140 is asked for, the certificate at NIST's CMVP is what counts",
        )?;
    }
    Ok(())
}

fn pin(told: &Teller<'_>, info: &TokenInfo) -> Result<(), Left> {
    if !info.user_pin_initialized() {
        told.stops("the token has no user PIN", "chancery token change-pin --whose reset sets one")?;
    } else if info.user_pin_locked() {
        told.stops("the user PIN is locked", "chancery token change-pin --whose reset sets a new one; keys stay")?;
    } else if info.user_pin_final_try() {
        told.stops(
            "one attempt at the user PIN is left, so it was not tried",
            "make sure of the PIN and log in once by hand, or set a new one (chancery token change-pin --whose reset)",
        )?;
    } else if info.user_pin_count_low() {
        told.warning(
            "a wrong user PIN was tried since the last login",
            "find out who did; the token locks after a few",
        )?;
    }
    if info.user_pin_to_be_changed() {
        told.warning(
            "the user PIN is the one that the token came with, or is to be changed",
            "chancery token change-pin",
        )?;
    }
    if info.protected_authentication_path() {
        told.warning(
            "the token takes its PIN at a keypad of its own (CKF_PROTECTED_AUTHENTICATION_PATH)",
            "Chancery gives the PIN over the module: see that the token takes it that way, too, for a service starts unattended",
        )?;
    }
    Ok(())
}

fn clock(told: &Teller<'_>, info: &TokenInfo) -> Result<(), Left> {
    let Some(time) = info.utc_time().filter(|_| info.clock_on_token()) else {
        told.note("the token has no clock", "every time in Chancery's record is this machine's: keep it synchronised")?;
        return Ok(());
    };
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let difference = seconds(&time) - i64::try_from(ours).unwrap_or(i64::MAX);
    if difference.abs() <= CLOCK_TOLERANCE_SECONDS {
        told.ok(format!("the token's clock agrees with this machine's ({difference} s)"))?;
    } else {
        told.warning(
            format!("the token's clock is {difference} s from this machine's"),
            "set whichever is wrong: Chancery's record goes by this machine's, the device's own log by the token's",
        )?;
    }
    Ok(())
}

/// Seconds since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms", days_from_civil).
fn seconds(time: &UtcTime) -> i64 {
    let (month, day) = (i64::from(time.month), i64::from(time.day));
    let year = i64::from(time.year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    days * 86_400 + i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second)
}

fn known(limit: Limit) -> Option<u64> {
    match limit {
        Limit::Max(0) | Limit::Infinite | Limit::Unavailable => None,
        Limit::Max(count) => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_time_is_read_as_seconds() {
        let at = |year, month, day, hour| UtcTime { year, month, day, hour, minute: 1, second: 2 };
        assert_eq!(seconds(&at(1970, 1, 1, 0)), 62);
        assert_eq!(seconds(&at(2000, 3, 1, 0)), 951_868_862);
        assert_eq!(seconds(&at(2024, 2, 29, 12)), 1_709_208_062);
        assert_eq!(seconds(&at(2026, 11, 28, 8)), 1_795_852_862);
    }
}

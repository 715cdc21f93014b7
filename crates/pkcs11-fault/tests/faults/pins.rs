//! A PIN that locks.

use crate::support::*;
use chancery_pkcs11_fault::{Rule, Then};
use cryptoki::error::RvError;
use cryptoki::session::UserType;

/// Not a test: what another process sees of a PIN that was locked in this one.
#[test]
#[ignore = "the entry point of a second process"]
fn is_locked() {
    let Some(bed) = Bed::here() else { return };
    let session = bed.open();
    assert_eq!(code(session.login(UserType::User, Some(&PIN.into()))), RvError::PinLocked);
    assert!(bed.pkcs11.get_token_info(bed.slot).unwrap().user_pin_locked());
}

/// Not a test: what is seen before and after.
#[test]
#[ignore = "the entry point of a first process"]
fn locks_after_three() {
    let Some(bed) = Bed::here() else { return };
    let session = bed.open();
    let login = |pin: &str| session.login(UserType::User, Some(&pin.into()));
    // The right one begins the count anew.
    for _ in 0..2 {
        assert_eq!(code(login("wrong1")), RvError::PinIncorrect);
        assert_eq!(code(login("wrong2")), RvError::PinIncorrect);
        assert!(bed.pkcs11.get_token_info(bed.slot).unwrap().user_pin_final_try());
        login(PIN).unwrap();
        session.logout().unwrap();
    }
    for _ in 0..3 {
        assert_eq!(code(login("wrong3")), RvError::PinIncorrect);
    }
    assert!(bed.happened().is_empty());
    assert_eq!(code(login(PIN)), RvError::PinLocked);
    bed.assert_happened(&[("C_Login", "locks")]);
}

/// Not a test: all is well.
#[test]
#[ignore = "the entry point of a last process"]
fn is_open() {
    let Some(bed) = Bed::here() else { return };
    drop(bed.log_in());
    assert!(!bed.pkcs11.get_token_info(bed.slot).unwrap().user_pin_count_low() || !bed.happened().is_empty());
}

#[test]
fn a_pin_locks_for_all_processes_until_the_rule_is_gone() {
    for place in Place::on_each_module() {
        let faults = place.faults();
        let locks = [Rule::new("locks", Then::PinLocksAfter(3))];
        faults.set(&locks).unwrap();
        place.passes("faults::pins::locks_after_three");
        place.passes("faults::pins::is_locked");
        faults.clear().unwrap();
        place.passes("faults::pins::is_open");
        faults.set(&locks).unwrap();
        place.passes("faults::pins::is_open");
    }
}

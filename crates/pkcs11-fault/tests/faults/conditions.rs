//! A token that is not there, and one that is elsewhere.

use crate::support::*;
use chancery_pkcs11_fault::{Rule, Then};
use cryptoki::error::RvError;
use cryptoki::slot::Slot;

on_each_module! {
    fn a_token_is_absent_and_comes_back_under_another_number(bed: &Bed) {
        let session = bed.log_in();
        let (_, key) = make_pair(&session, "a").unwrap();
        let serial = bed.pkcs11.get_token_info(bed.slot).unwrap().serial_number().to_owned();
        let of_token = |when: &mut chancery_pkcs11_fault::When| when.token = Some(LABEL.to_owned());

        let others = bed.pkcs11.get_slots_with_token().unwrap().len() - 1;
        bed.faults.set(&[Rule::new("gone", Then::Absent).when(of_token)]).unwrap();
        assert_eq!(code(sign(&session, key, b"m")), RvError::DeviceRemoved);
        assert_eq!(token(&bed.pkcs11), None);
        assert_eq!(bed.pkcs11.get_slots_with_token().unwrap().len(), others);
        assert!(bed.pkcs11.get_all_slots().unwrap().contains(&bed.slot));
        assert!(!bed.pkcs11.get_slot_info(bed.slot).unwrap().token_present());
        assert_eq!(code(bed.pkcs11.get_token_info(bed.slot)), RvError::TokenNotPresent);
        assert_eq!(code(bed.pkcs11.open_rw_session(bed.slot)), RvError::TokenNotPresent);
        assert!(bed.happened().iter().all(|(_, rule)| rule == "gone"));

        let moved = Slot::try_from(4_711_u64).unwrap();
        bed.faults.set(&[Rule::new("moved", Then::SlotNumber(4_711)).when(of_token)]).unwrap();
        // Its sessions went with it, and they do not come back.
        assert_eq!(code(sign(&session, key, b"m")), RvError::SessionHandleInvalid);
        drop(session);
        assert_eq!(token(&bed.pkcs11), Some(moved));
        assert_eq!(bed.pkcs11.get_token_info(moved).unwrap().serial_number(), serial);
        assert_eq!(code(bed.pkcs11.open_rw_session(bed.slot)), RvError::SlotIdInvalid);
        let session = bed.pkcs11.open_rw_session(moved).unwrap();
        assert_eq!(session.get_session_info().unwrap().slot_id(), moved);
        session.login(cryptoki::session::UserType::User, Some(&PIN.into())).unwrap();
        sign(&session, private_keys(&session)[0], b"m").unwrap();
        assert!(bed.happened().iter().all(|(_, rule)| rule == "moved"));

        bed.faults.clear().unwrap();
        assert_eq!(token(&bed.pkcs11), Some(bed.slot));
        assert_eq!(session.get_session_info().unwrap().slot_id(), bed.slot);
        sign(&session, private_keys(&session)[0], b"m").unwrap();
        assert!(bed.happened().is_empty());
    }
}

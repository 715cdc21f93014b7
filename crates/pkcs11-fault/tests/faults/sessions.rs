//! Sessions and logins that end behind the program's back.

use crate::support::*;
use chancery_pkcs11_fault::{Rule, Then};
use cryptoki::error::RvError;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

on_each_module! {
    fn all_sessions_are_closed(bed: &Bed) {
        let session = bed.log_in();
        let other = bed.open();
        let (_, key) = make_pair(&session, "a").unwrap();
        bed.faults.set(&[Rule::new("cut", Then::CloseSessions).on("C_SignInit").times(1)]).unwrap();
        assert_eq!(code(sign(&session, key, b"m")), RvError::SessionHandleInvalid);
        assert_eq!(code(other.get_session_info()), RvError::SessionHandleInvalid);
        bed.assert_happened(&[("C_SignInit", "cut")]);
        bed.faults.clear().unwrap();
        drop((session, other));
        // The login went with the last session.
        let session = bed.open();
        assert!(private_keys(&session).is_empty());
        drop(session);
        let session = bed.log_in();
        sign(&session, private_keys(&session)[0], b"m").unwrap();
    }

    /// Closing them is all that the rule does: the module behind works on, whoever was in the midst of a call of it.
    fn sessions_are_closed_while_other_threads_sign(bed: &Bed) {
        let session = bed.log_in();
        let (public, _) = make_pair(&session, "a").unwrap();
        let point = point(&session, public);
        drop(session);
        bed.faults.set(&[Rule::new("cut", Then::CloseSessions).on("C_SignInit").when(|when| when.every = Some(7))]).unwrap();
        // Not every module takes a login beside a signature, and that is not what this is about.
        let logging_in = RwLock::new(());
        let sign_on = &|thread: usize| {
            let open = || {
                let _alone = logging_in.write().unwrap_or_else(PoisonError::into_inner);
                let session = bed.open();
                // Somebody else may have logged in.
                let _known = session.login(cryptoki::session::UserType::User, Some(&PIN.into()));
                let key = private_keys(&session)[0];
                (session, key)
            };
            let (mut session, mut key) = open();
            for number in 0..500 {
                let message = format!("{thread} {number}");
                let signed = {
                    let _beside = logging_in.read().unwrap_or_else(PoisonError::into_inner);
                    sign(&session, key, message.as_bytes())
                };
                match signed {
                    Ok(signature) => assert!(is_valid(&point, message.as_bytes(), &signature)),
                    Err(_) => (session, key) = open(),
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || sign_on(thread));
            }
        });
        assert!(bed.faults.count("cut").unwrap() > 100);
    }

    fn the_user_is_logged_out(bed: &Bed) {
        let session = bed.log_in();
        make_pair(&session, "a").unwrap();
        bed.faults.set(&[Rule::new("out", Then::Logout).on("C_FindObjectsInit").times(1)]).unwrap();
        assert!(private_keys(&session).is_empty());
        assert_eq!(code(make_pair(&session, "b")), RvError::UserNotLoggedIn);
        bed.assert_happened(&[("C_FindObjectsInit", "out")]);
        bed.faults.clear().unwrap();
        session.login(cryptoki::session::UserType::User, Some(&PIN.into())).unwrap();
        assert_eq!(private_keys(&session).len(), 1);
    }

    fn sessions_are_few(bed: &Bed) {
        bed.faults.set(&[Rule::new("cap", Then::SessionCap(2))]).unwrap();
        let sessions = (bed.open(), bed.open());
        assert_eq!(code(bed.pkcs11.open_rw_session(bed.slot)), RvError::SessionCount);
        assert_eq!(code(bed.pkcs11.open_ro_session(bed.slot)), RvError::SessionCount);
        bed.assert_happened(&[("C_OpenSession", "cap"), ("C_OpenSession", "cap")]);
        drop(sessions.0);
        let again = bed.open();
        bed.faults.clear().unwrap();
        let more = bed.open();
        assert!(bed.happened().is_empty());
        drop((sessions.1, again, more));
    }

    fn an_idle_session_dies_and_a_used_one_does_not(bed: &Bed) {
        let used = bed.log_in();
        let (_, key) = make_pair(&used, "a").unwrap();
        let idle = bed.open();
        bed.faults.set(&[Rule::new("idle", Then::IdleExpiryMs(2_000))]).unwrap();
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(500));
            sign(&used, key, b"m").unwrap();
        }
        assert!(bed.happened().is_empty());
        assert_eq!(code(idle.get_session_info()), RvError::SessionHandleInvalid);
        bed.assert_happened(&[("C_GetSessionInfo", "idle")]);
        bed.faults.clear().unwrap();
        std::thread::sleep(Duration::from_millis(2_100));
        sign(&used, key, b"m").unwrap();
    }
}

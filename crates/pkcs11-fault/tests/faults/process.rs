//! Calls that are late, do not return, or take the process with them.

use crate::support::*;
use chancery_pkcs11_fault::{Crash, Hang, Rule, Then};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

on_each_module! {
    fn a_delay(bed: &Bed) {
        let session = bed.log_in();
        let (_, key) = make_pair(&session, "a").unwrap();
        bed.faults.set(&[Rule::new("slow", Then::DelayMs(200)).on("C_SignInit")]).unwrap();
        let began = Instant::now();
        sign(&session, key, b"m").unwrap();
        assert!(began.elapsed() >= Duration::from_millis(200));
        bed.assert_happened(&[("C_SignInit", "slow")]);
        bed.faults.clear().unwrap();
        sign(&session, key, b"m").unwrap();
        assert!(bed.happened().is_empty());
    }

    fn a_hang_lasts_until_its_rule_is_gone_and_holds_nobody_else(bed: &Bed) {
        let anchor = bed.log_in();
        let (_, key) = make_pair(&anchor, "a").unwrap();
        let hang = Rule::new("stuck", Then::Hang(Hang::UntilRemoved)).on("C_SignInit").times(1);
        bed.faults.set(std::slice::from_ref(&hang)).unwrap();
        let is_back = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let session = bed.open();
            let is_back = &is_back;
            scope.spawn(move || {
                sign(&session, key, b"m").unwrap();
                is_back.store(true, Ordering::SeqCst);
            });
            while bed.faults.count("stuck").unwrap() == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Another rule beside it changes nothing for it.
            bed.faults.set(&[hang.clone(), Rule::new("slow", Then::DelayMs(1)).on("C_Verify")]).unwrap();
            sign(&anchor, key, b"m").unwrap();
            std::thread::sleep(Duration::from_millis(100));
            assert!(!is_back.load(Ordering::SeqCst));
            bed.faults.clear().unwrap();
        });
        assert!(is_back.load(Ordering::SeqCst));
        bed.assert_happened(&[("C_SignInit", "stuck")]);
    }
}

/// Not a test: what dies below.
#[test]
#[ignore = "the entry point of processes that die"]
fn sign_once() {
    let Some(bed) = Bed::here() else { return };
    let session = bed.log_in();
    let (public, private) = make_pair(&session, "a").unwrap();
    let signature = sign(&session, private, b"m").unwrap();
    assert!(is_valid(&point(&session, public), b"m", &signature));
}

#[test]
fn a_crash_happens_as_often_as_it_may_in_all_processes_together() {
    const SIGN_ONCE: &str = "faults::process::sign_once";
    for place in Place::on_each_module() {
        let faults = place.faults();
        for (how, signal) in [(Crash::Segv, libc::SIGSEGV), (Crash::Abort, libc::SIGABRT)] {
            for rule in [Rule::new("crash", Then::Crash(how)), Rule::new("crash", Then::Crash(how)).after_the_call()] {
                faults.set(&[rule.on("C_SignInit").times(2)]).unwrap();
                for _ in 0..2 {
                    assert_eq!(place.run(SIGN_ONCE).status.signal(), Some(signal));
                }
                place.passes(SIGN_ONCE);
                assert_eq!(faults.count("crash").unwrap(), 2);
                faults.clear_log().unwrap();
            }
        }
    }
}

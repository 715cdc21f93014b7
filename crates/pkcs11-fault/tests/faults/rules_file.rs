//! The file of rules itself: wrong ones, none, and the examples.

use crate::support::*;
use chancery_pkcs11_fault::{MODULE_VARIABLE, RULES_VARIABLE, Rule, library};
use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;
use std::fs;

on_each_module! {
    fn rules_that_mean_nothing_are_loud(bed: &Bed) {
        let session = bed.log_in();
        assert!(fs::read_to_string(bed.faults.status_path()).unwrap().starts_with("ok: 0 rules"));
        fs::write(bed.faults.rules_path(), "[[rule]]\nthen = { retrun = \"CKR_OK\" }\n").unwrap();
        assert_eq!(code(session.get_session_info()), RvError::FunctionFailed);
        assert_eq!(code(bed.pkcs11.get_slots_with_token()), RvError::FunctionFailed);
        let status = fs::read_to_string(bed.faults.status_path()).unwrap();
        assert!(status.starts_with("error: ") && status.contains("retrun"), "{status}");
        let complaint = bed.faults.log().unwrap_err().to_string();
        assert!(complaint.contains("retrun"), "{complaint}");
        bed.faults.clear_log().unwrap();

        bed.faults.set(&[Rule::returning("r", "C_SeedRandom", "CKR_DEVICE_ERROR")]).unwrap();
        session.get_session_info().unwrap();
        assert!(fs::read_to_string(bed.faults.status_path()).unwrap().starts_with("ok: 1 rules"));
        // No file, no rules.
        fs::remove_file(bed.faults.rules_path()).unwrap();
        let _ = session.seed_random(&[1; 16]);
        assert!(bed.happened().is_empty());
    }

    fn what_the_module_behind_offers_is_offered(bed: &Bed) {
        let info = bed.pkcs11.get_library_info().unwrap();
        let behind = Pkcs11::new(std::env::var(MODULE_VARIABLE).unwrap()).unwrap();
        let behind = behind.get_library_info().unwrap();
        assert_eq!(info.cryptoki_version(), behind.cryptoki_version());
        assert_eq!(info.manufacturer_id(), behind.manufacturer_id());
    }

    fn the_examples_are_understood(bed: &Bed) {
        let session = bed.open();
        let mut examples = 0;
        for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                bed.faults.set_text(&fs::read_to_string(&path).unwrap()).unwrap();
                // Understood by the module, too; most are not about this function, so it works.
                let _ = session.get_session_info();
                let status = fs::read_to_string(bed.faults.status_path()).unwrap();
                assert!(status.starts_with("ok: "), "{}: {status}", path.display());
                examples += 1;
            }
        }
        assert!(examples >= 5, "{examples}");
        bed.faults.clear().unwrap();
        drop(session);
        bed.happened();

        let session = bed.log_in();
        let (_, key) = make_pair(&session, "payments").unwrap();
        bed.faults.set_text(include_str!("../../examples/flaky-network.toml")).unwrap();
        let failed = (0..100).filter(|_| sign(&session, key, b"m").is_err()).count();
        let in_log = bed.faults.count("lost-answer").unwrap();
        assert_eq!(failed, in_log);
        assert!((1..40).contains(&failed), "{failed}");
    }
}

#[test]
fn without_a_module_behind_it_says_so() {
    // Only this process is without one: the tests above begin with an environment of their own.
    if std::env::var_os(MODULE_VARIABLE).is_none() && std::env::var_os(RULES_VARIABLE).is_none() {
        let error = Pkcs11::new(library().unwrap()).map(drop).map_err(|error| format!("{error:?}")).unwrap_err();
        assert!(error.contains("GeneralError"), "{error}");
    }
}

#[test]
fn the_library_is_built_beside_the_tests() {
    let library = library().unwrap();
    assert!(library.is_file());
}

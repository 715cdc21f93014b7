//! Return codes, before and after the real call, and the conditions that choose calls.

use crate::support::*;
use chancery_pkcs11_fault::{Functions, Rule, Then};
use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;

on_each_module! {
    fn any_code_from_any_function_and_operations_end_with_it(bed: &Bed) {
        let session = bed.log_in();
        let (public, private) = make_pair(&session, "a").unwrap();
        let point = point(&session, public);
        for function in ["C_SignInit", "C_Sign"] {
            bed.faults.set(&[Rule::returning("r", function, "CKR_DEVICE_ERROR").when(|when| when.output = None)]).unwrap();
            assert_eq!(code(sign(&session, private, b"m")), RvError::DeviceError);
            bed.assert_happened(&[(function, "r")]);
            bed.faults.clear().unwrap();
            // No operation is left over, which would make this OPERATION_ACTIVE.
            assert!(is_valid(&point, b"m", &sign(&session, private, b"m").unwrap()));
        }
        // The call with a place for the signature, and not the one that asks for its length.
        bed.faults.set(&[Rule::returning("r", "C_Sign", "0x80000123").when(|when| when.output = Some(true))]).unwrap();
        assert_eq!(code(sign(&session, private, b"m")), RvError::VendorDefined(0x8000_0123));
        bed.assert_happened(&[("C_Sign", "r")]);
        bed.faults.clear().unwrap();
        let signature = sign(&session, private, b"m").unwrap();

        bed.faults.set(&[Rule::returning("v", "C_Verify", "CKR_HOST_MEMORY")]).unwrap();
        let verify = || session.verify(&Mechanism::Ecdsa, public, &hash(b"m"), &signature);
        assert_eq!(code(verify()), RvError::HostMemory);
        bed.faults.clear().unwrap();
        verify().unwrap();
        bed.assert_happened(&[("C_Verify", "v")]);

        bed.faults.set(&[Rule::returning("all", "*", "CKR_GENERAL_ERROR")]).unwrap();
        assert_eq!(code(bed.pkcs11.get_slots_with_token()), RvError::GeneralError);
        assert_eq!(code(session.get_session_info()), RvError::GeneralError);
        assert_eq!(code(session.find_objects(&[])), RvError::GeneralError);
        bed.faults.clear().unwrap();
        assert_eq!(bed.happened().len(), 3);
        assert_eq!(count(&session, "a"), 2);
    }

    fn a_module_that_does_not_begin_or_end(bed: &Bed) {
        let (pkcs11, faults) = (&bed.pkcs11, &bed.faults);
        let begin = || pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        faults.set(&[Rule::returning("no-end", "C_Finalize", "CKR_GENERAL_ERROR")]).unwrap();
        assert_eq!(code(pkcs11.clone().finalize()), RvError::GeneralError);
        assert_eq!(code(begin()), RvError::CryptokiAlreadyInitialized);
        faults.set(&[Rule::returning("no-begin", "C_Initialize", "CKR_CANT_LOCK")]).unwrap();
        pkcs11.clone().finalize().unwrap();
        assert_eq!(code(begin()), RvError::CantLock);
        assert_eq!(code(pkcs11.get_slots_with_token()), RvError::CryptokiNotInitialized);
        // Begun, and nobody knows.
        faults.set(&[Rule::returning("lost", "C_Initialize", "CKR_HOST_MEMORY").after_the_call()]).unwrap();
        assert_eq!(code(begin()), RvError::HostMemory);
        faults.clear().unwrap();
        assert_eq!(code(begin()), RvError::CryptokiAlreadyInitialized);
        assert_eq!(token(pkcs11), Some(bed.slot));
        bed.assert_happened(&[("C_Finalize", "no-end"), ("C_Initialize", "no-begin"), ("C_Initialize", "lost")]);
    }

    fn an_operation_in_parts_ends_with_its_error(bed: &Bed) {
        let session = bed.log_in();
        let secret = session
            .generate_key(&Mechanism::GenericSecretKeyGen, &[Attribute::Sign(true), Attribute::ValueLen(32.into())])
            .unwrap();
        for function in ["C_SignUpdate", "C_SignFinal"] {
            for rule in [Rule::returning("r", function, "CKR_DEVICE_ERROR"), Rule::returning("r", function, "CKR_DEVICE_ERROR").after_the_call()] {
                session.sign_init(&Mechanism::Sha256Hmac, secret).unwrap();
                bed.faults.set(&[rule]).unwrap();
                let result = session.sign_update(b"m").and_then(|()| session.sign_final());
                assert_eq!(code(result), RvError::DeviceError);
                bed.faults.clear().unwrap();
                assert_eq!(session.sign(&Mechanism::Sha256Hmac, secret, b"m").unwrap().len(), 32, "{function}");
                bed.assert_happened(&[(function, "r")]);
            }
        }
    }

    fn an_error_after_the_key_was_really_generated(bed: &Bed) {
        let session = bed.log_in();
        let rule = Rule::returning("lost", "C_GenerateKeyPair", "CKR_FUNCTION_FAILED").when(|when| when.label = Some("a".to_owned()));
        bed.faults.set(std::slice::from_ref(&rule)).unwrap();
        assert_eq!(code(make_pair(&session, "a")), RvError::FunctionFailed);
        assert_eq!(count(&session, "a"), 0);
        bed.faults.set(&[rule.after_the_call()]).unwrap();
        assert_eq!(code(make_pair(&session, "a")), RvError::FunctionFailed);
        assert_eq!(count(&session, "a"), 2);
        make_pair(&session, "b").unwrap();
        bed.assert_happened(&[("C_GenerateKeyPair", "lost"), ("C_GenerateKeyPair", "lost")]);
        bed.faults.clear().unwrap();
        make_pair(&session, "a").unwrap();
        assert_eq!(count(&session, "a"), 4);
    }

    fn calls_are_chosen_by_number_key_session_slot_and_token(bed: &Bed) {
        let session = bed.log_in();
        let (_, a) = make_pair(&session, "a").unwrap();
        let (_, b) = make_pair(&session, "b").unwrap();
        let failing = |rule: Rule| {
            bed.faults.set(&[Rule { function: Functions::One("C_Sign".to_owned()), ..rule }.when(|when| when.output = Some(true))]).unwrap();
            let signed: Vec<_> = (0..6).filter(|turn| sign(&session, if turn % 2 == 0 { a } else { b }, b"m").is_err()).collect();
            assert_eq!(bed.happened().len(), signed.len());
            // A rule that stays goes on counting.
            bed.faults.clear().unwrap();
            signed
        };
        let rule = || Rule::new("r", Then::Return("CKR_DEVICE_ERROR".to_owned()));
        assert_eq!(failing(rule().when(|when| when.nth = Some(2))), [1]);
        assert_eq!(failing(rule().when(|when| when.every = Some(3))), [2, 5]);
        assert_eq!(failing(rule().when(|when| when.first = Some(2))), [0, 1]);
        assert_eq!(failing(rule().times(3)), [0, 1, 2]);
        assert_eq!(failing(rule().when(|when| when.label = Some("a".to_owned()))), [0, 2, 4]);
        // "b" is 62 in hexadecimal. Counted are only the calls with this key.
        assert_eq!(failing(rule().when(|when| (when.id, when.nth) = (Some("62".to_owned()), Some(2)))), [3]);
        let drawn = |seed| failing(rule().when(|when| (when.probability, when.seed) = (Some(0.5), Some(seed))));
        assert_eq!(drawn(1), drawn(1));
        let all = [0, 1, 2, 3, 4, 5];
        assert_eq!(failing(rule().when(|when| when.token = Some(LABEL.to_owned()))), all);
        assert!(failing(rule().when(|when| when.token = Some("another".to_owned()))).is_empty());
        assert_eq!(failing(rule().when(|when| when.slot = Some(bed.slot.id()))), all);
        assert!(failing(rule().when(|when| when.slot = Some(bed.slot.id() + 1))).is_empty());
        let handle = session.handle().to_string().parse().unwrap();
        assert_eq!(failing(rule().when(|when| when.session = Some(handle))), all);
        assert!(failing(rule().when(|when| when.session = Some(handle + 1))).is_empty());
        sign(&session, a, b"m").unwrap();
    }

    fn many_threads_get_exactly_as_many_faults_as_told(bed: &Bed) {
        let anchor = bed.log_in();
        let (_, key) = make_pair(&anchor, "a").unwrap();
        bed.faults.set(&[
            Rule::returning("tenth", "C_SignInit", "CKR_DEVICE_ERROR").when(|when| when.every = Some(10)),
            Rule::returning("few", "C_SignInit", "CKR_DEVICE_MEMORY").when(|when| when.times = Some(7)),
        ]).unwrap();
        let failed: usize = std::thread::scope(|scope| {
            let work = || {
                let session = bed.open();
                (0..50).filter(|_| sign(&session, key, b"m").is_err()).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let few = bed.faults.count("few").unwrap();
        let tenth = bed.faults.count("tenth").unwrap();
        // 200 calls; every tenth of those is never more and never less.
        assert_eq!((few, tenth, failed), (7, 20, 27));
    }
}

//! Tokens are made, wiped, and given other PINs by the command line, and nothing else is touched.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use chancery_client::EcdsaEncoding;
use chancery_pkcs11_fault::{Crash, Rule, Then};
use chancery_testkit::Chancery;
use chancery_tests::program::{chancery, command, run, succeed};
use chancery_tests::softhsm::{LABEL, SO_PIN, SoftHsm, USER_PIN};
use chancery_tests::terminal::AtTerminal;

/// The PIN in a file.
fn pin(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// Whether the token takes the PIN of a file: one login.
fn takes(hsm: &SoftHsm, file: &Path) -> bool {
    let (said, code) = run(hsm.token("doctor").args(["--only", "absence", "-o", "json", "--pin-file"]).arg(file));
    match code {
        Some(0) => true,
        Some(1) => {
            assert!(said.contains("PIN_INCORRECT"), "{said}");
            let latched = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|name| name == "pin-latch");
            let locks = std::fs::read_dir(hsm.path("locks")).unwrap().map(Result::unwrap);
            // Somebody put it right.
            locks.filter(latched).for_each(|latch| std::fs::remove_file(latch.path()).unwrap());
            false
        }
        other => panic!("{other:?}: {said}"),
    }
}

#[test]
fn a_token_is_made_in_a_free_slot_and_never_twice() {
    let hsm = SoftHsm::new();
    let slots = hsm.slots();
    assert_eq!((slots.len(), slots[0]["token"].as_str()), (1, Some("uninitialised")), "{slots:?}");

    let made = succeed(hsm.init(LABEL).arg("--user-pin-file").arg(hsm.path("pin")));
    let slots = hsm.slots();
    let token = slots.iter().find(|slot| slot["token"] == "initialised").unwrap();
    assert_eq!((token["label"].as_str(), token["note"].as_str()), (Some(LABEL), Some("")));
    assert!(made.contains(token["serial"].as_str().unwrap()), "{made}");
    assert!(takes(&hsm, &hsm.path("pin")));

    let (said, code) = run(hsm.init(LABEL).arg("--user-pin-file").arg(hsm.path("pin")));
    assert!(code == Some(3) && said.contains("was made here before"), "{code:?} {said}");
    // Not to be seen is no reason to make another: the token's files are gone, and the mark is not.
    std::fs::rename(hsm.path("tokens"), hsm.path("aside")).unwrap();
    std::fs::create_dir(hsm.path("tokens")).unwrap();
    let (said, code) = run(hsm.init(LABEL).arg("--user-pin-file").arg(hsm.path("pin")));
    assert!(code == Some(3) && said.contains("no reason to make another"), "{code:?} {said}");
    assert_eq!(hsm.slots().len(), 1);
}

#[test]
fn the_slot_can_be_named_and_one_with_a_token_is_never_taken() {
    let hsm = SoftHsm::with_token();
    let slots = hsm.slots();
    let number = |state: &str| slots.iter().find(|slot| slot["token"] == state).unwrap()["slot"].to_string();
    let init = |slot: String| {
        let mut init = hsm.init("second");
        init.arg("--user-pin-file").arg(hsm.path("pin")).args(["--slot", &slot]);
        init
    };
    let (said, code) = run(&mut init(number("initialised")));
    assert!(code == Some(3) && said.contains("never taken"), "{code:?} {said}");
    let _said = succeed(&mut init(number("uninitialised")));
    assert_eq!(hsm.slots().iter().filter(|slot| slot["token"] == "initialised").count(), 2);
}

#[test]
fn pins_come_from_files_of_their_owner_and_from_descriptors_and_are_not_shown() {
    let hsm = SoftHsm::new();
    let open = hsm.pin_file("open", USER_PIN);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (said, code) = run(hsm.init(LABEL).arg("--user-pin-file").arg(&open));
    assert!(code == Some(3) && said.contains("chmod 600") && !said.contains(USER_PIN), "{code:?} {said}");
    // Without a terminal nobody can be asked.
    let (said, code) = run(Command::new("setsid").arg("--wait").arg(chancery()).args(hsm.init(LABEL).get_args()));
    assert!(code == Some(3) && said.contains("-pin-fd"), "{code:?} {said}");
    for short in ["1", "12345678901234567890".repeat(20).as_str()] {
        let file = hsm.pin_file("odd", short);
        let (said, code) = run(hsm.init(LABEL).arg("--user-pin-file").arg(file));
        assert!(code == Some(3) && said.contains("takes PINs of") && said.contains("nothing was done"), "{said}");
    }
    assert!(hsm.slots().iter().all(|slot| slot["token"] == "uninitialised"));

    // Over standard input, and over one more descriptor that the shell opens.
    let mut init = hsm.bare("init");
    init.args(["--label", LABEL, "--so-pin-fd", "0", "--user-pin-fd", "7", "--lock-dir"]).arg(hsm.path("locks"));
    let mut shell = command("bash");
    shell.args(["-c", "exec 7< \"$0\"; exec \"$@\" < \"$SO\""]).arg(hsm.path("pin"));
    shell.arg(chancery()).args(init.get_args()).env("SO", hsm.path("so-pin"));
    let said = succeed(&mut shell);
    assert!(!said.contains(USER_PIN) && !said.contains(SO_PIN), "{said}");
    assert!(takes(&hsm, &hsm.path("pin")));
}

#[test]
fn pins_that_are_typed_are_not_shown() {
    let hsm = SoftHsm::new();
    let init = || {
        let mut init = hsm.bare("init");
        init.args(["--label", LABEL, "--lock-dir"]).arg(hsm.path("locks"));
        init
    };
    let mut typing = AtTerminal::run(&init());
    typing.answer("New SO PIN of token \"payments\": ", &format!("{SO_PIN}\r"));
    typing.answer("New SO PIN of token \"payments\", again: ", "something else\r");
    let (said, code) = typing.end();
    assert!(code == Some(3) && said.contains("differ") && !said.contains(SO_PIN), "{code:?} {said}");

    let mut typing = AtTerminal::run(&init());
    typing.answer("New SO PIN of token \"payments\": ", "\u{3}");
    let (said, code) = typing.end();
    assert!(code == Some(3) && said.contains("given up"), "{code:?} {said}");

    let mut typing = AtTerminal::run(&init());
    for (what, pin) in [("SO", SO_PIN), ("user", USER_PIN)] {
        typing.answer(&format!("New {what} PIN of token \"payments\": "), &format!("{pin}x\u{7f}\r"));
        typing.answer(&format!("New {what} PIN of token \"payments\", again: "), &format!("{pin}\r"));
    }
    let (said, code) = typing.end();
    assert!(code == Some(0) && said.contains("made"), "{code:?} {said}");
    assert!(!said.contains(SO_PIN) && !said.contains(USER_PIN), "{said}");
    assert!(takes(&hsm, &hsm.path("pin")));
}

#[test]
fn a_token_is_wiped_only_by_who_names_it_twice_and_has_the_so_pin() {
    let hsm = SoftHsm::with_token();
    // Something to lose: a key that was left in it by a crash.
    let (hsm, faults) = hsm.faulty();
    faults
        .set(&[Rule::new("crash", Then::Crash(Crash::Segv)).on("C_DestroyObject").when(|when| {
            when.label = Some("chancery-doctor".to_owned());
        })])
        .unwrap();
    let (said, code) = run(hsm.token("doctor").args(["--only", "objects", "--pin-file"]).arg(hsm.path("pin")));
    assert_eq!(code, Some(1), "{said}");
    faults.clear().unwrap();
    let before = hsm.objects();
    assert!(before > 0, "{said}");

    let again = |so_pin: &Path| {
        let mut again = hsm.token("init");
        again.arg("--reinitialise").arg("--so-pin-file").arg(so_pin).arg("--user-pin-file").arg(hsm.path("new-pin"));
        again
    };
    hsm.pin_file("new-pin", "another-canary");
    let so_pin = hsm.path("so-pin");
    let (said, code) = run(&mut again(&so_pin));
    assert!(code == Some(2) && said.contains("nobody confirms"), "{code:?} {said}");
    let (said, code) = run(again(&so_pin).args(["--confirm", "payment"]));
    assert!(code == Some(2) && said.contains("nothing was done"), "{code:?} {said}");
    let wrong = hsm.pin_file("wrong", "wrong-canary");
    let (said, code) = run(again(&wrong).args(["--confirm", LABEL]));
    assert!(code == Some(3) && said.contains("is as it was") && !said.contains("wrong-canary"), "{code:?} {said}");
    assert_eq!(hsm.objects(), before);
    assert!(takes(&hsm, &hsm.path("pin")));

    let said = succeed(again(&so_pin).args(["--confirm", LABEL]));
    assert!(said.contains("destroyed"), "{said}");
    assert_eq!(hsm.objects(), 0);
    assert!(!takes(&hsm, &hsm.path("pin")));
    assert!(takes(&hsm, &hsm.path("new-pin")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_a_new_pin_between_two_signatures() {
    let mut service = Chancery::start().await.unwrap();
    let key = service.key().await.unwrap().clone();
    let before = service.caller().await.unwrap().sign(&key, "before", EcdsaEncoding::Der).await.unwrap();
    let config = service.config().to_owned();
    let change = || {
        let mut change = command(chancery());
        change.args(["token", "change-pin", "--generate", "--config"]).arg(&config);
        change
    };
    let file = service.token_dir().join("pin");
    let old = pin(&file);

    // The service holds the token.
    let (said, code) = run(&mut change());
    assert!(code == Some(3) && said.contains("held by") && said.contains("stop the service"), "{code:?} {said}");
    assert_eq!(pin(&file), old);
    assert!(!file.with_file_name("pin.next").exists());

    assert!(service.terminate().await.unwrap().success());
    let said = succeed(&mut change());
    let new = pin(&file);
    assert!(new != old && new.len() == 32, "128 bits in hexadecimal");
    assert!(said.contains("pin") && !said.contains(&new) && !said.contains(&old), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!file.with_file_name("pin.next").exists());

    service.restart().await.unwrap();
    let after = service.caller().await.unwrap().sign(&key, "after", EcdsaEncoding::Der).await.unwrap();
    assert_eq!(after.version, before.version);
}

#[test]
fn the_security_officer_changes_his_own_pin_and_resets_the_users() {
    let hsm = SoftHsm::with_token();
    let input = |pin: &str| {
        let file = hsm.pin_file("typed", pin);
        Stdio::from(std::fs::File::open(file).unwrap())
    };
    let so_pin = hsm.path("so-pin");
    let mut change = hsm.token("change-pin");
    change.args(["--whose", "so", "--new-pin-fd", "0", "--pin-file"]).arg(&so_pin).stdin(input("new-so-canary"));
    let _said = succeed(&mut change);
    assert_eq!(pin(&so_pin), "new-so-canary");

    let mut reset = hsm.token("change-pin");
    reset.args(["--whose", "reset", "--new-pin-fd", "0", "--pin-file"]).arg(&so_pin);
    reset.arg("--new-pin-file").arg(hsm.path("pin")).stdin(input("new-user-canary"));
    let said = succeed(&mut reset);
    assert!(!said.contains("canary"), "{said}");
    assert_eq!(pin(&so_pin), "new-so-canary", "that is another's PIN");
    assert_eq!(pin(&hsm.path("pin")), "new-user-canary");
    assert!(takes(&hsm, &hsm.path("pin")));
}

#[test]
fn a_refused_pin_changes_nothing_and_is_not_tried_again() {
    let hsm = SoftHsm::with_token();
    let wrong = hsm.pin_file("wrong", "wrong-canary");
    let change = |file: &Path| {
        let mut change = hsm.token("change-pin");
        change.arg("--generate").arg("--pin-file").arg(file);
        change
    };
    let (said, code) = run(&mut change(&wrong));
    assert!(code == Some(3) && said.contains("PIN_INCORRECT") && !said.contains("canary"), "{code:?} {said}");
    assert_eq!(pin(&wrong), "wrong-canary");
    assert!(!hsm.path("wrong.next").exists());
    // Not even the right one: whoever repeats a command must not lock the token.
    let (said, code) = run(&mut change(&hsm.path("pin")));
    assert!(code == Some(3) && said.contains("is not tried again"), "{code:?} {said}");
    assert_eq!(pin(&hsm.path("pin")), USER_PIN);
}

#[test]
fn both_pins_stay_where_nobody_knows_which_holds() {
    let (hsm, faults) = SoftHsm::with_token().faulty();
    // The PIN is changed, and the answer is lost.
    faults.set(&[Rule::new("crash", Then::Crash(Crash::Segv)).on("C_SetPIN").after_the_call()]).unwrap();
    let change = || {
        let mut change = hsm.token("change-pin");
        change.arg("--generate").arg("--pin-file").arg(hsm.path("pin"));
        change
    };
    let (said, code) = run(&mut change());
    assert!(code == Some(3) && said.contains("pin.next") && said.contains("find out which holds"), "{code:?} {said}");
    assert_eq!(faults.count("crash").unwrap(), 1);
    faults.clear().unwrap();
    assert_eq!(pin(&hsm.path("pin")), USER_PIN);
    let next = hsm.path("pin.next");
    assert!(!said.contains(&pin(&next)) && !said.contains(USER_PIN), "{said}");
    assert!(takes(&hsm, &next), "it is the new one that holds here");

    let (said, code) = run(&mut change());
    assert!(code == Some(3) && said.contains("did not come to its end"), "{code:?} {said}");
    std::fs::rename(&next, hsm.path("pin")).unwrap();
    let _said = succeed(&mut change());
    assert!(takes(&hsm, &hsm.path("pin")));
}

#[test]
fn a_bad_token_does_not_hide_the_others() {
    let (hsm, faults) = SoftHsm::with_token().faulty();
    let number = hsm.slots().iter().find(|slot| slot["token"] == "initialised").unwrap()["slot"].as_u64();
    let broken = Rule::returning("broken", "C_GetTokenInfo", "CKR_GENERAL_ERROR").when(|when| when.slot = number);
    faults.set(&[broken]).unwrap();
    let slots = hsm.slots();
    let state = |state: &str| slots.iter().filter(|slot| slot["token"] == state).count();
    assert_eq!((slots.len(), state("unreadable"), state("uninitialised")), (2, 1, 1), "{slots:?}");
    assert!(slots.iter().any(|slot| slot["note"].as_str().unwrap().contains("CKR_GENERAL_ERROR")), "{slots:?}");
}

#[test]
fn no_pin_can_be_typed_into_a_command_line() {
    let hsm = SoftHsm::new();
    for option in ["--pin", "--so-pin", "--user-pin", "--new-pin"] {
        for name in ["init", "change-pin", "doctor"] {
            let (said, code) = run(hsm.token(name).args([option, "1234"]));
            assert!(code == Some(2) && said.contains("unexpected argument"), "{name} {option}: {said}");
        }
    }
    let (said, code) = run(hsm.token("doctor").args(["--env", "VENDOR_PASSWORD=hunter2"]));
    assert!(
        code == Some(2) && said.contains("looks like a secret") && said.contains("--env VENDOR_PASSWORD"),
        "{said}"
    );
}

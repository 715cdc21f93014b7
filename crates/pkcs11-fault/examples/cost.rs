//! How much the module costs: calls in a second straight to a module, through ours without rules, and through ours with
//! a rule that is about other calls.
//!
//! ```text
//! PKCS11_FAULT_MODULE=/usr/lib/softhsm/libsofthsm2.so SOFTHSM2_CONF=... cargo run -p chancery-pkcs11-fault --example cost
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program to be run by hand: it prints, and stops at the first surprise"
)]

use chancery_pkcs11_fault::{FaultRules, MODULE_VARIABLE, RULES_VARIABLE, Rule, Then, library};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::Session;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROUND: Duration = Duration::from_millis(500);

fn main() {
    let rules = PathBuf::from(std::env::var_os(RULES_VARIABLE).unwrap());
    let faults = FaultRules::new(rules.parent().unwrap()).unwrap();
    assert_eq!(faults.rules_path(), rules, "call the file of rules faults.toml");
    let straight = open(Path::new(&std::env::var_os(MODULE_VARIABLE).unwrap()));
    let through = open(&library().unwrap());
    let elsewhere = |id: &str| Rule::new(id, Then::DelayMs(1)).on_each(&["C_Sign", "C_GetSessionInfo"]);
    println!("calls a second: C_GetSessionInfo / HMAC-SHA256 of 32 bytes (3 calls); best of 6 rounds, in turns");
    let mut best = [[0.0_f64; 2]; 4];
    for _ in 0..6 {
        for (way, best) in best.iter_mut().enumerate() {
            match way {
                2 => faults.set(&[Rule::new("other-function", Then::DelayMs(1)).on("C_Decrypt")]).unwrap(),
                3 => faults.set(&[elsewhere("other-slot").when(|when| when.slot = Some(1))]).unwrap(),
                _ => faults.clear().unwrap(),
            }
            let session = if way == 0 { &straight } else { &through };
            let rates = measure(session);
            *best = [best[0].max(rates[0]), best[1].max(rates[1])];
        }
    }
    for (what, [info, mac]) in
        ["straight", "no rule", "a rule on another function", "a rule on another slot"].iter().zip(best)
    {
        println!("{what:28} {info:>10.0} {mac:>10.0}");
    }
}

fn open(module: &Path) -> Session {
    let pkcs11 = Pkcs11::new(module).unwrap();
    // The second time it is the same module, and initialised.
    let _ = pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slot = pkcs11.get_slots_with_token().unwrap().remove(0);
    pkcs11.open_rw_session(slot).unwrap()
}

fn measure(session: &Session) -> [f64; 2] {
    let template = [Attribute::Sign(true), Attribute::Private(false), Attribute::ValueLen(32.into())];
    let key = session.generate_key(&Mechanism::GenericSecretKeyGen, &template).unwrap();
    let info = rate(|| _ = session.get_session_info().unwrap());
    let mac = rate(|| _ = session.sign(&Mechanism::Sha256Hmac, key, &[7; 32]).unwrap());
    session.destroy_object(key).unwrap();
    [info, mac]
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn rate(mut call: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut calls = 0_u64;
    while began.elapsed() < ROUND {
        (0..100).for_each(|_| call());
        calls += 100;
    }
    calls as f64 / began.elapsed().as_secs_f64()
}

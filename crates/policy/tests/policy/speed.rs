//! Measures; asserts nothing about time. Run with
//! `cargo test -p chancery-policy --test policy -- --ignored --nocapture speed`.

use crate::cases::{allowed, caller, caller_in, point, roles_and, sign};
use chancery_model::Role;
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

#[test]
#[ignore = "a measurement"]
fn speed_of_a_decision_as_the_policy_set_grows() {
    let signer = caller("shop", &[Role::Signer]);
    let other = caller_in("dev", "other", &["g1"], &[], &["other"]);
    for policies in [0, 10, 100, 1000] {
        let mut text = String::new();
        for number in 0..policies {
            writeln!(
                text,
                r#"@id("p{number}") permit (principal in Chancery::Group::"g{number}", action, resource in Chancery::KeyRing::"r{number}");"#
            )
            .unwrap();
        }
        let point = point(&roles_and(&text), &[&signer, &other]);
        let request = sign("payments/jwt");
        let per_call = |rounds: u32, call: &dyn Fn()| {
            call();
            let start = Instant::now();
            (0..rounds).for_each(|_| call());
            start.elapsed() / rounds
        };
        let prepared = per_call(2000, &|| drop(black_box(allowed(point.authorize(&signer, &request)))));
        let stranger = caller("stranger", &[Role::Signer]);
        let unprepared = per_call(200, &|| drop(black_box(allowed(point.authorize(&stranger, &request)))));
        let full = per_call(20, &|| assert!(black_box(point.explain(&signer, &request)).allowed));
        println!(
            "{policies:>5} policies beside the shipped: prepared {prepared:?}, unknown caller {unprepared:?}, explained {full:?}"
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_review_as_the_policy_set_grows() {
    let signer = caller("shop", &[Role::Signer]);
    for policies in [0, 10, 100, 1000] {
        let mut text = String::new();
        for number in 0..policies {
            writeln!(
                text,
                r#"@id("p{number}") permit (principal, action, resource) when {{ context has sourceAddress && principal.id == "x{number}" }};"#
            )
            .unwrap();
        }
        let point = point(&roles_and(&text), &[&signer]);
        let request = sign("payments/jwt");
        let review = || drop(black_box(point.review(&signer, request.action, &request.resource)));
        review(); // takes the conditions apart, once
        let start = Instant::now();
        (0..50).for_each(|_| review());
        println!(
            "{policies:>5} policies with conditions beside the shipped: a review takes {:?}",
            start.elapsed() / 50
        );
    }
}

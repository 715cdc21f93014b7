//! The suite goes through every function that the product calls, and no other.

use std::collections::BTreeSet;

use chancery_api::v1::{self, Algorithm};
use chancery_pkcs11_fault::{AttributeLie, AttributeValue, Rule, Then};
use chancery_testkit::Module;
use chancery_tests::faults::Faulty;

use crate::{generation, mending, secrets, signatures, starting};

/// Called at the first start on a new token only.
const FIRST: [&str; 1] = ["C_CreateObject"];

/// Each function in which some test of this suite makes each row of the table happen.
pub fn functions() -> BTreeSet<&'static str> {
    let has_interfaces = Module::from_environment().unwrap() == Module::Kryoptic;
    let lists: [&[&str]; 6] = [
        &signatures::FUNCTIONS,
        &mending::FUNCTIONS,
        &secrets::MAC_FUNCTIONS,
        &secrets::RANDOM_FUNCTIONS,
        &starting::FUNCTIONS,
        &FIRST,
    ];
    let called = lists.into_iter().flatten().copied().chain(generation::functions());
    called.filter(|function| !(has_interfaces && *function == "C_GetFunctionList")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_goes_through_each_function_that_a_tour_of_the_product_calls() {
    const SEEN: &str = "seen";
    let watch = Rule::new(SEEN, Then::DelayMs(0)).on("*");
    let mut faulty = Faulty::under(std::slice::from_ref(&watch)).await;
    let (pair, _) = faulty.key("pair").await;
    let secret = faulty.try_create_key("secret", Algorithm::HmacSha256).await.unwrap().name;
    assert!(faulty.sign(&pair).await.end.is_ok());
    let made = faulty.mac(&secret, b"m").await.unwrap();
    let check =
        v1::MacVerifyRequest { name: secret, message: b"m".to_vec().into(), mac: made.into(), ..Default::default() };
    assert!(faulty.caller.signing().mac_verify(check).await.unwrap().into_inner().valid);
    faulty.random(32).await.unwrap();
    let rotation = v1::RotateKeyRequest { name: pair.clone(), ..Default::default() };
    faulty.operator.keys().rotate_key(rotation).await.unwrap();
    // A key that has to go again, a handle that is searched for, a worker that is replaced.
    let lie = AttributeLie { name: "CKA_EXTRACTABLE".to_owned(), value: AttributeValue::Boolean(true) };
    faulty.rules(&[watch.clone(), Rule::new("lie", Then::Attribute(lie))]);
    faulty.try_create_key("refused", Algorithm::EcdsaP256Sha256).await.unwrap_err();
    let lost = Rule::new("lost", Then::CloseSessions).on("C_SignInit").times(1);
    faulty.recover_under(&pair, &[watch.clone(), lost]).await;
    faulty.rules(&[watch.clone(), Rule::returning("stale", "C_SignInit", "CKR_KEY_HANDLE_INVALID").times(1)]);
    assert!(faulty.sign(&pair).await.end.is_ok());
    faulty.rules(&[watch]);
    faulty.restart().await.unwrap();
    assert!(faulty.sign(&pair).await.end.is_ok());
    assert!(faulty.chancery.terminate().await.unwrap().success());

    let seen = faulty.faults.log().unwrap();
    let seen: BTreeSet<&str> =
        seen.iter().filter(|call| call.rule == SEEN).map(|call| call.function.as_str()).collect();
    assert_eq!(seen, functions(), "left: called on the tour; right: those in which the suite makes faults happen");
}

//! A call that was recorded is read back as it was.

use crate::agreement::{any_request, some_caller};
use crate::cases::*;
use chancery_model::{Action, Role};
use chancery_policy::{NotReplayable, PolicySet, RecordedCall};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_recorded_call_is_the_call(shop in some_caller("shop"), request in any_request()) {
        prop_assume!(request.resource.takes(request.action));
        let mut request = request;
        request.context.operation = operation_for(request.action);
        let point = point(&PolicySet::shipped(), &[&shop]);
        let attributes = point.explain(&shop, &request).attributes;
        let read = RecordedCall::from_attributes(request.action, &attributes).unwrap();
        prop_assert_eq!(&*read.caller, &*shop);
        prop_assert_eq!(&read.request, &request);
    }
}

#[test]
fn every_action_with_circumstances_of_its_own_is_read_back() {
    let shop = caller("shop", &[Role::Signer, Role::Auditor]);
    let point = point(&PolicySet::shipped(), &[&shop]);
    for action in Action::ALL {
        let request = request(action, resource_for(action, "payments", "dev"));
        let attributes = point.explain(&shop, &request).attributes;
        assert_eq!(RecordedCall::from_attributes(action, &attributes).unwrap().request, request);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let shop = caller("shop", &[Role::Signer]);
    let point = point(&PolicySet::shipped(), &[&shop]);
    let attributes = point.explain(&shop, &sign("payments/jwt")).attributes;
    for (pointer, value, missing) in [
        ("/principal/roles", serde_json::json!(["emperor"]), "roles"),
        ("/principal/id", serde_json::json!(7), "id"),
        ("/resource/type", serde_json::json!("Moon"), "type"),
        ("/resource/algorithm", serde_json::json!("MD5"), "algorithm"),
        ("/context/authentication", serde_json::json!("by handshake"), "authentication"),
        ("/context/now", serde_json::json!("noon"), "now"),
        ("/context/inputBytes", serde_json::json!(-1), "inputBytes"),
    ] {
        let mut changed = attributes.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        assert_eq!(RecordedCall::from_attributes(Action::Sign, &changed), Err(NotReplayable(missing)), "{pointer}");
    }
    let other = RecordedCall::from_attributes(Action::ListKeys, &attributes);
    assert_eq!(other, Err(NotReplayable("resource of this action")));
    assert!(RecordedCall::from_attributes(Action::Sign, &serde_json::Value::Null).is_err());
}

#[test]
fn a_record_of_the_time_before_adoption_is_of_a_key_of_which_there_is_no_copy() {
    let shop = caller("shop", &[Role::Signer]);
    let point = point(&PolicySet::shipped(), &[&shop]);
    let mut attributes = point.explain(&shop, &sign("payments/jwt")).attributes;
    let resource = attributes["resource"].as_object_mut().unwrap();
    assert_eq!(resource.remove("extractable"), Some(false.into()));
    assert_eq!(RecordedCall::from_attributes(Action::Sign, &attributes).unwrap().request, sign("payments/jwt"));
    attributes["resource"]["extractable"] = "no".into();
    assert_eq!(RecordedCall::from_attributes(Action::Sign, &attributes), Err(NotReplayable("extractable")));
}

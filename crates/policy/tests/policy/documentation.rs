//! The examples of docs/policy.md are policies that work.

use crate::cases::{
    caller, caller_in, document, key, key_facts, operation_for, parse, point, registration, request, ring, sign,
};
use chancery_model::{Action, Algorithm, Role, Timestamp};
use chancery_policy::{AccessRequest, OperationContext, PolicySet, Resource, SignInputKind, someone_can_apply};
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: &str = include_str!("../../../../docs/policy.md");

fn examples() -> PolicySet {
    let blocks = PAGE.split("```cedar\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut documents: Vec<_> =
        blocks.enumerate().map(|(number, text)| document(&format!("example-{number}.cedar"), text)).collect();
    assert_eq!(documents.len(), 7);
    documents.extend_from_slice(PolicySet::shipped().documents());
    parse(documents)
}

#[test]
fn the_examples_do_what_the_page_says() {
    let set = examples();
    assert_eq!(set.warnings(), &[] as &[String]);
    let job = caller_in("dev", "job", &["settlement"], &[], &[]);
    let signer = caller("shop", &[Role::Signer]);
    let keeper = caller("keeper", &[Role::KeyAdministrator]);
    let operator = caller("operator", &[Role::PolicyAdministrator]);
    let registrar = caller("registrar", &[Role::CallerAdministrator]);
    let security = caller_in("dev", "security", &["security"], &[Role::CallerAdministrator], &[]);
    let point = point(&set, &[&job, &signer, &keeper, &operator, &registrar, &security]);
    let from = |mut request: AccessRequest, source: &str, hour: i64| {
        request.context.source = Some(source.parse().unwrap());
        request.context.now = Timestamp::from_unix_micros((1_764_028_800 + hour * 3600) * 1_000_000);
        request
    };

    let settle = || request(Action::Sign, key("payments/settlement", "dev"));
    for (source, hour, expected) in
        [("10.20.1.1", 23, true), ("10.20.1.1", 3, true), ("10.20.1.1", 12, false), ("10.21.1.1", 23, false)]
    {
        assert_eq!(point.explain(&job, &from(settle(), source, hour)).allowed, expected, "{source} {hour}");
    }

    let mut facts = key_facts("payments/seal", "dev");
    facts.labels = Arc::new(BTreeMap::from([("use".to_owned(), "seal".to_owned())]));
    let mut seal = request(Action::Sign, Resource::Key(facts));
    assert!(point.explain(&signer, &seal).allowed);
    if let OperationContext::Sign { input, .. } = &mut seal.context.operation {
        *input = SignInputKind::Digest;
    }
    assert_eq!(point.explain(&signer, &seal).determining[0].id, "seals-never-sign-digests");

    let mut create = request(Action::CreateKey, ring("payments", "dev"));
    assert_eq!(create.context.operation, operation_for(Action::CreateKey));
    assert!(point.explain(&keeper, &create).allowed);
    create.context.operation =
        OperationContext::CreateKey { algorithm: Algorithm::RsaPss2048Sha256, allow_digest: false };
    assert_eq!(point.explain(&keeper, &create).determining[0].id, "payments-makes-no-rsa-keys");

    let responder = caller_in("dev", "responder", &["incident-response"], &[], &[]);
    let on_call = chancery_policy::PolicyPoint::new(set.clone(), &[Arc::clone(&responder)]).unwrap();
    for (action, environment, expected) in [
        (Action::MarkKeyVersionCompromised, "dev", true),
        (Action::MarkKeyVersionCompromised, "prod", false),
        (Action::SuspendKeyVersion, "dev", false),
        (Action::ScheduleKeyVersionDestruction, "dev", false),
    ] {
        let asked = request(action, key("payments/jwt", environment));
        assert_eq!(on_call.explain(&responder, &asked).allowed, expected, "{action} {environment}");
    }
    for (ring, expected) in [("payments", true), ("archive", false)] {
        let archivist = caller_in("dev", "archivist", &[], &[Role::KeyAdministrator], &["payments", "archive"]);
        let point = chancery_policy::PolicyPoint::new(set.clone(), &[Arc::clone(&archivist)]).unwrap();
        let asked = request(Action::ScheduleKeyVersionDestruction, key(&format!("{ring}/jwt"), "dev"));
        assert_eq!(point.explain(&archivist, &asked).allowed, expected, "{ring}");
    }

    let apply = || request(Action::ApplyPolicySet, Resource::PolicySet);
    assert!(point.explain(&operator, &from(apply(), "10.99.0.7", 12)).allowed);
    assert!(!point.explain(&operator, &from(apply(), "10.98.0.7", 12)).allowed);
    assert!(someone_can_apply(&point, &[operator]));

    let mut create = request(Action::CreateCaller, Resource::Callers);
    for (roles, by_registrar) in [(&[Role::Signer][..], true), (&[Role::Signer, Role::KeyAdministrator][..], false)] {
        create.context.operation = registration("dev", roles);
        assert_eq!(point.explain(&registrar, &create).allowed, by_registrar, "{roles:?}");
        assert!(point.explain(&security, &create).allowed, "{roles:?}");
    }
    for action in [Action::UpdateCaller, Action::IssueApiKey, Action::RotateApiKey] {
        for (whose, by_registrar) in [(&signer, true), (&keeper, false), (&security, false)] {
            let asked = request(action, Resource::Caller(Arc::clone(whose)));
            assert_eq!(point.explain(&registrar, &asked).allowed, by_registrar, "{action} {}", whose.id);
        }
        assert!(point.explain(&security, &request(action, Resource::Caller(Arc::clone(&keeper)))).allowed, "{action}");
    }
    let till = caller("till", &[Role::Signer]);
    let from_outside = |authentication| {
        let mut asked = from(sign("payments/jwt"), "10.21.1.1", 12);
        asked.context.authentication = authentication;
        point.explain(&till, &asked).allowed
    };
    assert_eq!(["certificate", "certificate-and-api-key", "api-key"].map(from_outside), [true, true, false]);
    let mut inside = from(sign("payments/jwt"), "10.20.1.1", 12);
    inside.context.authentication = "api-key";
    assert!(point.explain(&till, &inside).allowed);
}

#[test]
fn the_examples_about_callers_do_what_their_page_says() {
    let page = include_str!("../../../../docs/callers.md");
    let blocks = page.split("```cedar\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples = blocks.enumerate().map(|(number, text)| document(&format!("example-{number}.cedar"), text));
    let documents: Vec<_> = examples.chain(PolicySet::shipped().documents().to_vec()).collect();
    assert_eq!(documents.len(), 3);
    let set = parse(documents);
    let signer = caller_in("prod", "shop", &[], &[Role::Signer], &["payments"]);
    let point = point(&set, &[&signer]);
    let mut sign = request(Action::Sign, key("payments/jwt", "prod"));
    let mut rotate = request(Action::RotateApiKey, Resource::Caller(Arc::clone(&signer)));
    for (authentication, signs, rotates) in [
        ("certificate", true, false),
        ("api-key", false, false),
        ("certificate-and-api-key", true, true),
        ("oidc-token", false, false),
        ("certificate-and-oidc-token", true, false),
    ] {
        (sign.context.authentication, rotate.context.authentication) = (authentication, authentication);
        assert_eq!(point.explain(&signer, &sign).allowed, signs, "{authentication}");
        assert_eq!(point.explain(&signer, &rotate).allowed, rotates, "{authentication}");
    }
    rotate.context.operation = OperationContext::ApiKey { lifetime_seconds: 31 * 24 * 3600 };
    assert!(!point.explain(&signer, &rotate).allowed);
}

#[test]
fn the_page_names_every_action_group_role_and_builtin_policy() {
    let builtin = PolicySet::shipped().policies().into_iter().filter(|policy| policy.document == "builtin.cedar");
    let words = Action::ALL
        .iter()
        .flat_map(|action| [action.as_str().to_owned(), action.group().as_str().to_owned()])
        .chain(Role::ALL.iter().map(|role| role.as_str().to_owned()))
        .chain(builtin.map(|policy| policy.id));
    for word in words {
        assert!(PAGE.contains(&word), "docs/policy.md does not speak of {word}");
    }
}

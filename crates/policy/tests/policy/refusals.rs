//! What makes a policy set unfit, and that the error says where.

use crate::cases::{document, only};
use chancery_policy::{PolicyDocument, PolicyError, PolicyErrors, PolicySet};

/// The errors of one document that begins with two lines of comment.
fn errors_of(text: &str) -> Vec<PolicyError> {
    errors(vec![document("own.cedar", &format!("// one;\n// two\n{text}"))]).errors
}

fn errors(documents: Vec<PolicyDocument>) -> PolicyErrors {
    PolicySet::parse(documents).expect_err("the set should be refused")
}

/// Exactly one error, at this line and column of own.cedar, whose message has these words.
#[track_caller]
fn one(text: &str, id: Option<&str>, at: (u32, u32), words: &str) -> PolicyError {
    let errors = errors_of(text);
    let [error] = errors.as_slice() else { panic!("not one error: {errors:#?}") };
    assert_eq!(error.document, "own.cedar");
    assert_eq!(error.policy_id.as_deref(), id);
    assert_eq!((error.line, error.column), (Some(at.0), Some(at.1)), "{error}");
    assert!(error.message.contains(words), "{error}");
    error.clone()
}

#[test]
fn what_is_not_cedar() {
    let error = one("@id(\"a\")\npermit (principal action, resource);", None, (4, 19), "not Cedar");
    assert!(error.message.contains("unexpected token `action`"), "{error}");
    assert!(error.message.contains("expected"), "{error}");
    one("@id(\"a\")\npermit (principal, action, resource)", None, (4, 37), "not Cedar");
}

#[test]
fn a_policy_without_an_id() {
    let text = "@id(\"a\") permit (principal, action, resource);\n\n  forbid (principal, action, resource);";
    let error = one(text, None, (5, 3), "no @id");
    assert!(error.help.unwrap().contains("@id("));
}

#[test]
fn an_id_that_is_none() {
    for id in ["", "A", "1a", "a_b", "ä", "a b"] {
        one(&format!("@id(\"{id}\")\npermit (principal, action, resource);"), Some(id), (3, 1), "[a-z][a-z0-9-]{0,62}");
    }
    let id = "a".repeat(64);
    one(&format!("@id(\"{id}\")\npermit (principal, action, resource);"), Some(&id), (3, 1), "[a-z][a-z0-9-]{0,62}");
}

#[test]
fn an_id_that_is_reserved() {
    let text = "@id(\"builtin-mine\")\npermit (principal, action, resource);";
    one(text, Some("builtin-mine"), (3, 1), "builtin-");
}

#[test]
fn an_id_twice_in_one_document_and_over_two() {
    let policy = "@id(\"a\")\npermit (principal, action, resource);\n";
    one(&format!("{policy}{policy}"), Some("a"), (5, 1), "at own.cedar:3");
    let errors = errors(vec![document("z.cedar", policy), document("b.cedar", policy)]);
    assert_eq!(errors.errors.len(), 1);
    assert_eq!((errors.errors[0].document.as_str(), errors.errors[0].line), ("z.cedar", Some(1)));
    assert!(errors.errors[0].message.contains("at b.cedar:1"), "{errors}");
}

#[test]
fn a_template() {
    let text = "@id(\"a\")\npermit (principal == ?principal, action, resource);";
    one(text, Some("a"), (3, 1), "templates");
}

#[test]
fn what_the_schema_does_not_know() {
    let policy = |scope: &str, condition: &str| format!("@id(\"a\")\npermit ({scope})\nwhen {{ {condition} }};");
    let sign = r#"principal, action == Chancery::Action::"Sign", resource"#;
    for (scope, condition, line, words) in [
        (r#"principal in Chancery::Role::"singer", action, resource"#, "true", 4, "singer"),
        (r#"principal, action == Chancery::Action::"Sing", resource"#, "true", 4, "Sing"),
        (r#"principal in Role::"signer", action, resource"#, "true", 4, "Role"),
        (r#"principal, action, resource == Chancery::PolicySet::"old""#, "true", 4, "old"),
        (sign, "principal.ring == resource.ring", 5, "ring"),
        (sign, "resource.allowDigest == 1", 5, "types"),
        (sign, "context.sourceAddress.isLoopback()", 5, "sourceAddress"),
        (sign, r#"resource.getTag("tier") == "gold""#, 5, "tier"),
        (sign, r#"ip(principal.id).isLoopback()"#, 5, "literal"),
        ("principal, action, resource", "context.batchSize == 1", 5, "batchSize"),
        (sign, r#"Chancery::Key::"payments/jwt".algorithm == resource.algorithm"#, 5, "literal"),
    ] {
        let text = policy(scope, condition);
        let errors = errors_of(&text);
        assert!(
            errors
                .iter()
                .all(|e| e.policy_id.as_deref() == Some("a") && e.document == "own.cedar" && e.line == Some(line)),
            "{errors:#?}"
        );
        assert!(errors.iter().any(|error| error.message.contains(words)), "{words}: {errors:#?}");
    }
}

#[test]
fn documents_with_bad_names() {
    for name in ["", "../roles.cedar", "a b", "builtin.cedar"] {
        let errors = errors(vec![document(name, "")]);
        assert_eq!(errors.errors.len(), 1);
        assert_eq!(errors.errors[0].document, name);
    }
    let errors = errors(vec![document("a.cedar", ""), document("a.cedar", "")]);
    assert!(errors.to_string().contains("a.cedar:1:1: two documents have this name"), "{errors}");
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_their_places() {
    let errors = errors(vec![
        document("b.cedar", "permit (principal, action, resource);\n@id(\"B\") permit (principal, action, resource);"),
        document("a.cedar", "@id(\"typo\")\nforbid (principal, action, resource) when { principal.name == \"x\" };"),
        document("c.cedar", "permit"),
    ]);
    let places: Vec<_> = errors.errors.iter().map(|e| (e.document.as_str(), e.line)).collect();
    assert_eq!(places, [("a.cedar", Some(2)), ("b.cedar", Some(1)), ("b.cedar", Some(2)), ("c.cedar", Some(1))]);
    let text = errors.to_string();
    assert!(text.starts_with("the policy set is refused, for 4 reasons:\n  a.cedar:2:"), "{text}");
    assert!(text.contains("\n  b.cedar:1:1: the policy has no @id (write @id(\"some-name\") before"), "{text}");
    assert!(text.contains("policy \"typo\": "), "{text}");
}

#[test]
fn what_is_odd_but_not_wrong_is_a_warning_with_its_place() {
    let set = only(
        "@id(\"a\") permit (principal, action, resource);\n@id(\"never\")\nforbid (principal, action, resource)\nwhen { false };",
    );
    let [warning] = set.warnings() else { panic!("{:?}", set.warnings()) };
    assert!(warning.starts_with("own.cedar:2:1: policy \"never\": "), "{warning}");
    assert_eq!(PolicySet::shipped().warnings(), &[] as &[String]);
}

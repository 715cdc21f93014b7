//! PolicyService: reviews of access.

use super::fields::{id_in, invalid, name};
use super::page::PageOf;
use super::policy::{action_named, documents};
use chancery_api::v1;
use chancery_core::{AccessPage, AccessQuestion, EffectiveAccess, Error, ReviewedResource};
use chancery_policy::{Access, PolicySummary, Review, ReviewCondition};
use v1::effective_access::Access as Word;

pub(crate) fn request(request: v1::ListEffectiveAccessRequest) -> Result<(AccessQuestion, PageOf), Error> {
    let list =
        format!("{:?}", v1::ListEffectiveAccessRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let v1::ListEffectiveAccessRequest {
        caller,
        resource,
        action,
        include_denied,
        page_size,
        page_token,
        documents: proposed,
    } = request;
    let page = PageOf::parse(&list, page_size, &page_token)?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let question = AccessQuestion {
        caller: given(caller).map(|text| id_in("caller", &text, "callers", "the caller id")).transpose()?,
        resource: given(resource).map(|text| reviewed(&text)).transpose()?,
        action: given(action).map(|text| action_named(&text)).transpose()?,
        include_denied,
        documents: documents(proposed),
    };
    Ok((question, page))
}

/// The resource of a name, as the answer writes it.
fn reviewed(text: &str) -> Result<ReviewedResource, Error> {
    match text.split_once('/') {
        None if text == "tokens" => Ok(ReviewedResource::Tokens),
        None if text == "policySet" => Ok(ReviewedResource::PolicySet),
        None if text == "auditLog" => Ok(ReviewedResource::AuditLog),
        None if text == "callers" => Ok(ReviewedResource::Callers),
        Some(("callers", _)) => id_in("resource", text, "callers", "the caller id").map(ReviewedResource::Caller),
        Some(("tokens", _)) => id_in("resource", text, "tokens", "the token id").map(ReviewedResource::Token),
        Some(("keyRings", rest)) if rest.contains('/') => name("resource", text).map(ReviewedResource::Key),
        Some(("keyRings", _)) => name("resource", text).map(ReviewedResource::Ring),
        _ => Err(invalid(
            "resource",
            "must be the name of a key ring (keyRings/{ring}), a key, a token (tokens/{token}) or a caller \
             (callers/{caller}), or one of tokens, callers, policySet and auditLog, or empty",
        )),
    }
}

pub(crate) fn response(answer: AccessPage, page: &PageOf) -> v1::ListEffectiveAccessResponse {
    let AccessPage { items, next, policy_set } = answer;
    v1::ListEffectiveAccessResponse {
        access: items.into_iter().map(access).collect(),
        next_page_token: page.next(next),
        policy_set_sha256: policy_set.to_vec(),
    }
}

fn access(item: EffectiveAccess) -> v1::EffectiveAccess {
    let EffectiveAccess { caller, action, resource, review } = item;
    let Review { access, policies, conditions } = review;
    let word = match access {
        Access::Allowed => Word::Allowed,
        Access::Conditional => Word::Conditional,
        Access::Denied => Word::Denied,
    };
    v1::EffectiveAccess {
        caller: format!("callers/{caller}"),
        action: action.as_str().to_owned(),
        resource,
        access: word.into(),
        policies: policies.iter().map(ToString::to_string).collect(),
        conditions: conditions.into_iter().map(condition).collect(),
    }
}

fn condition(condition: ReviewCondition) -> v1::AccessCondition {
    let ReviewCondition { policy, parts, can_fail } = condition;
    let PolicySummary { id, effect, document, description, annotations: _, text: _ } = policy;
    v1::AccessCondition {
        policy_id: id,
        effect: effect.as_str().to_owned(),
        description: description.unwrap_or_default(),
        document,
        parts,
        can_fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    fn about(resource: &str) -> v1::ListEffectiveAccessRequest {
        v1::ListEffectiveAccessRequest { resource: resource.to_owned(), ..v1::ListEffectiveAccessRequest::default() }
    }

    #[test]
    fn a_resource_is_what_its_name_says() {
        let kind = |text: &str| request(about(text)).unwrap().0.resource;
        assert_eq!(kind(""), None);
        assert!(matches!(kind("keyRings/a"), Some(ReviewedResource::Ring(_))));
        assert!(matches!(kind("keyRings/a/keys/k"), Some(ReviewedResource::Key(_))));
        assert!(matches!(kind("tokens/main"), Some(ReviewedResource::Token(_))));
        assert_eq!(kind("tokens"), Some(ReviewedResource::Tokens));
        assert_eq!(kind("callers"), Some(ReviewedResource::Callers));
        assert!(matches!(kind("callers/a"), Some(ReviewedResource::Caller(_))));
        assert_eq!(kind("policySet"), Some(ReviewedResource::PolicySet));
        assert_eq!(kind("auditLog"), Some(ReviewedResource::AuditLog));
        for text in [
            "/",
            "keys/k",
            "keyRings",
            "keyRings/a/keys/k/versions/1",
            "tokens/",
            "callers/",
            "policySet/x",
            "policySet/",
        ] {
            assert_eq!(violation(request(about(text)).unwrap_err()).0, "resource", "{text}");
        }
    }

    #[test]
    fn a_page_token_is_good_for_the_same_question_only() {
        let (_, page) = request(about("keyRings/a")).unwrap();
        let token = page.next(Some("shop keyRings/a GetKeyRing"));
        let again = |resource: &str, documents| {
            let page_token = token.clone();
            request(v1::ListEffectiveAccessRequest { page_token, documents, ..about(resource) })
        };
        assert!(again("keyRings/a", Vec::new()).unwrap().1.place().unwrap().is_some());
        let proposed = v1::PolicyDocument { name: "a.cedar".to_owned(), text: String::new() };
        for other in [again("keyRings/b", Vec::new()), again("keyRings/a", vec![proposed])] {
            assert_eq!(violation(other.unwrap_err()).0, "page_token");
        }
    }
}

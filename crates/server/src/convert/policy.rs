//! PolicyService.

use super::callers::{caller_named, ids, rings, words};
use super::enums::optional_algorithm;
use super::fields::{id_in, invalid, key_or_version, name, time, timestamp};
use chancery_api::v1;
use chancery_core::{
    Error, ExplainRequest, ExplainResource, HypotheticalJwt, HypotheticalRegistration, PolicyCheck, PolicySetView,
};
use chancery_model::{Action, Id};
use chancery_policy::{
    Clause, ClauseOutcome, EvaluationFailure, Explanation, NearlyPermit, OutOfScopePermit, PolicyDocument, PolicyError,
    PolicySummary,
};
use std::net::IpAddr;
use v1::policy_finding::Severity;

pub(crate) fn policy_set(view: PolicySetView) -> v1::PolicySet {
    let PolicySetView { documents, version, hash, applied, applied_by, etag } = view;
    v1::PolicySet {
        documents: documents
            .into_iter()
            .map(|PolicyDocument { name, text }| v1::PolicyDocument { name, text })
            .collect(),
        version,
        sha256: hash.to_vec(),
        apply_time: Some(timestamp(applied)),
        applied_by,
        etag,
    }
}

pub(crate) fn apply_request(request: v1::ApplyPolicySetRequest) -> Result<(Vec<PolicyDocument>, String), Error> {
    let v1::ApplyPolicySetRequest { documents: given, etag } = request;
    if etag.is_empty() {
        return Err(invalid(
            "etag",
            "must be the etag of the policy set that is to be replaced; GetPolicySet answers it",
        ));
    }
    Ok((documents(given), etag))
}

pub(crate) fn validate_request(request: v1::ValidatePolicySetRequest) -> Vec<PolicyDocument> {
    let v1::ValidatePolicySetRequest { documents: given } = request;
    documents(given)
}

pub(super) fn documents(given: Vec<v1::PolicyDocument>) -> Vec<PolicyDocument> {
    given.into_iter().map(|v1::PolicyDocument { name, text }| PolicyDocument { name, text }).collect()
}

pub(crate) fn validate_response(check: PolicyCheck) -> v1::ValidatePolicySetResponse {
    let PolicyCheck { hash, errors, locks_out, warnings } = check;
    let whole = |severity: Severity, message: String| v1::PolicyFinding {
        severity: severity.into(),
        document: String::new(),
        policy_id: String::new(),
        line: 0,
        column: 0,
        message,
    };
    let lockout = locks_out.then(|| {
        let message =
            "no registered caller could apply another policy set after this one; permit ApplyPolicySet to somebody";
        whole(Severity::Error, message.to_owned())
    });
    let warnings = warnings.into_iter().map(|message| whole(Severity::Warning, message));
    v1::ValidatePolicySetResponse {
        valid: hash.is_some(),
        findings: errors.into_iter().map(finding).chain(lockout).chain(warnings).collect(),
        sha256: hash.map(Vec::from).unwrap_or_default(),
    }
}

fn finding(error: PolicyError) -> v1::PolicyFinding {
    let PolicyError { document, policy_id, line, column, message, help } = error;
    v1::PolicyFinding {
        severity: Severity::Error.into(),
        document,
        policy_id: policy_id.unwrap_or_default(),
        line: line.unwrap_or(0),
        column: column.unwrap_or(0),
        message: match help {
            Some(help) => format!("{message} ({help})"),
            None => message,
        },
    }
}

pub(crate) fn explain_request(request: v1::ExplainAuthorizationRequest) -> Result<ExplainRequest, Error> {
    let v1::ExplainAuthorizationRequest {
        caller,
        action,
        resource,
        algorithm,
        allow_digest,
        digest,
        source_address,
        jwt,
        length,
        time: at,
        input_bytes,
        certificate,
        batch_size,
        documents: proposed,
        registration,
        api_key_lifetime,
    } = request;
    let caller = match caller.as_str() {
        "" => None,
        caller => Some(id_in("caller", caller, "callers", "the caller id")?),
    };
    let source = match source_address.as_str() {
        "" => None,
        address => Some(address.parse::<IpAddr>().map_err(|error| {
            invalid("source_address", format!("must be an IPv4 or IPv6 address without port, or empty: {error}"))
        })?),
    };
    Ok(ExplainRequest {
        caller,
        action: action_named(&action)?,
        resource: explain_resource(&resource)?,
        algorithm: optional_algorithm("algorithm", algorithm)?,
        allow_digest,
        digest,
        source,
        jwt: jwt.map(hypothetical_jwt).transpose()?.unwrap_or_default(),
        length: optional_number("length", length)?,
        time: at.map(|at| time("time", at)).transpose()?,
        certificate: certificate
            .map(|v1::HypotheticalCertificate { subject, subject_alternative_names }| {
                (subject, subject_alternative_names)
            })
            .unwrap_or_default(),
        input_bytes: optional_number("input_bytes", input_bytes)?,
        batch_size: optional_number("batch_size", batch_size)?,
        documents: documents(proposed),
        registration: registration.map(hypothetical_registration).transpose()?,
        api_key_lifetime_seconds: api_key_lifetime
            .map(|lifetime| whole_seconds("api_key_lifetime", &lifetime))
            .transpose()?,
    })
}

fn hypothetical_registration(of: v1::HypotheticalRegistration) -> Result<HypotheticalRegistration, Error> {
    let v1::HypotheticalRegistration { environment, groups, roles, key_rings } = of;
    let environment = (!environment.is_empty()).then(|| Id::parse("the environment", &environment)).transpose();
    Ok(HypotheticalRegistration {
        environment: environment.map_err(|error| invalid("registration.environment", error.to_string()))?,
        groups: ids("registration.groups", "the group", &groups)?,
        roles: words("registration.roles", &roles)?,
        rings: rings("registration.key_rings", &key_rings)?,
    })
}

/// A number that is not given where it is 0.
fn optional_number(field: &str, number: impl TryInto<u64> + Into<i64> + Copy) -> Result<Option<u64>, Error> {
    match number.into() {
        0 => Ok(None),
        _ => number.try_into().map(Some).map_err(|_negative| invalid(field, "must not be negative")),
    }
}

fn hypothetical_jwt(jwt: v1::HypotheticalJwt) -> Result<HypotheticalJwt, Error> {
    let v1::HypotheticalJwt { issuer, subject, audiences, lifetime, r#type } = jwt;
    let given = |text: String| (!text.is_empty()).then_some(text);
    let lifetime_seconds = lifetime.map(|lifetime| whole_seconds("jwt.lifetime", &lifetime));
    Ok(HypotheticalJwt {
        issuer: given(issuer),
        subject: given(subject),
        audiences,
        lifetime_seconds: lifetime_seconds.transpose()?,
        token_type: given(r#type),
    })
}

fn whole_seconds(field: &str, duration: &prost_types::Duration) -> Result<u64, Error> {
    match u64::try_from(duration.seconds) {
        Ok(seconds) if seconds > 0 && duration.nanos == 0 => Ok(seconds),
        _ => Err(invalid(field, "must be a positive number of whole seconds")),
    }
}

/// A method's name. Also the record's filter.
pub(super) fn action_named(text: &str) -> Result<Action, Error> {
    text.parse().map_err(|error: chancery_model::UnknownAction| invalid("action", error.to_string()))
}

/// The number of segments says what kind of resource a name is of.
fn explain_resource(text: &str) -> Result<ExplainResource, Error> {
    let (collection, rest) = text.split_once('/').unwrap_or((text, ""));
    match collection {
        _ if text.is_empty() => Ok(ExplainResource::None),
        "tokens" => id_in("resource", text, "tokens", "the token id").map(ExplainResource::Token),
        "callers" => caller_named("resource", text).map(ExplainResource::Caller),
        "keyRings" if rest.contains('/') => key_or_version("resource", text).map(ExplainResource::Key),
        "keyRings" => name("resource", text).map(ExplainResource::Ring),
        _ => Err(invalid(
            "resource",
            "must be the name of a key ring (keyRings/{ring}), a key, a key version, a token (tokens/{token}) or a \
             caller (callers/{caller}), or empty",
        )),
    }
}

pub(crate) fn explain_response(explanation: Explanation) -> v1::ExplainAuthorizationResponse {
    let Explanation {
        allowed,
        denial: _,
        reason,
        determining,
        failures,
        nearly,
        out_of_scope,
        policy_set,
        attributes: _,
    } = explanation;
    let nearly = nearly.into_iter().map(|NearlyPermit { policy, clauses }| with_unmet(policy, unmet_clauses(&clauses)));
    let out_of_scope = out_of_scope
        .into_iter()
        .map(|OutOfScopePermit { policy, mismatches }| with_unmet(policy, mismatches.join("; ")));
    v1::ExplainAuthorizationResponse {
        allowed,
        reason,
        determining_policies: determining.into_iter().map(|policy| with_unmet(policy, String::new())).collect(),
        unmet_policies: nearly.chain(out_of_scope).collect(),
        errors: failures
            .into_iter()
            .map(|EvaluationFailure { policy, message }| match policy {
                Some(policy) => format!("policy {policy:?}: {message}"),
                None => message,
            })
            .collect(),
        policy_set_sha256: policy_set.to_vec(),
    }
}

fn with_unmet(policy: PolicySummary, unmet: String) -> v1::PolicyExplanation {
    let PolicySummary { id, effect, document, description, annotations: _, text } = policy;
    v1::PolicyExplanation {
        policy_id: id,
        effect: effect.as_str().to_owned(),
        description: description.unwrap_or_default(),
        document,
        text,
        unmet,
    }
}

fn unmet_clauses(clauses: &[Clause]) -> String {
    let unmet = clauses.iter().filter_map(|Clause { text, outcome }| match outcome {
        ClauseOutcome::NotSatisfied => Some(text.clone()),
        ClauseOutcome::Failed(why) => Some(format!("{text} (could not be evaluated: {why})")),
        ClauseOutcome::Satisfied | ClauseOutcome::NotReached => None,
    });
    unmet.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;
    use chancery_policy::Effect;

    fn question(resource: &str) -> v1::ExplainAuthorizationRequest {
        v1::ExplainAuthorizationRequest {
            action: "Sign".to_owned(),
            resource: resource.to_owned(),
            ..v1::ExplainAuthorizationRequest::default()
        }
    }

    #[test]
    fn a_resource_is_what_its_name_says() {
        let kind = |text: &str| explain_request(question(text)).unwrap().resource;
        assert!(matches!(kind(""), ExplainResource::None));
        assert!(matches!(kind("keyRings/a"), ExplainResource::Ring(_)));
        assert!(matches!(kind("keyRings/a/keys/k"), ExplainResource::Key(chancery_core::KeyOrVersion::Key(_))));
        let version = kind("keyRings/a/keys/k/versions/1");
        assert!(matches!(version, ExplainResource::Key(chancery_core::KeyOrVersion::Version(_))));
        assert!(matches!(kind("tokens/main"), ExplainResource::Token(_)));
        assert!(matches!(kind("callers/a"), ExplainResource::Caller(_)));
        for text in ["/", "keys/k", "keyRings", "keyRings/a/", "tokens", "callers", "callers/A"] {
            assert_eq!(violation(explain_request(question(text)).unwrap_err()).0, "resource", "{text}");
        }
    }

    #[test]
    fn an_unknown_action_caller_or_address_is_refused() {
        let refused = |request| violation(explain_request(request).unwrap_err()).0;
        assert_eq!(refused(v1::ExplainAuthorizationRequest { action: "sign".to_owned(), ..question("") }), "action");
        assert_eq!(
            refused(v1::ExplainAuthorizationRequest { caller: "checkout".to_owned(), ..question("") }),
            "caller"
        );
        let address = v1::ExplainAuthorizationRequest { source_address: "10.0.0.1:80".to_owned(), ..question("") };
        assert_eq!(refused(address), "source_address");
        assert_eq!(refused(v1::ExplainAuthorizationRequest { algorithm: 99, ..question("") }), "algorithm");
        let request = v1::ExplainAuthorizationRequest {
            caller: "callers/checkout".to_owned(),
            source_address: "::1".to_owned(),
            ..question("")
        };
        let registered =
            |registration| v1::ExplainAuthorizationRequest { registration: Some(registration), ..question("") };
        let none = v1::HypotheticalRegistration::default;
        let roles = v1::HypotheticalRegistration { roles: vec!["singer".to_owned()], ..none() };
        assert_eq!(refused(registered(roles)), "registration.roles");
        let rings = v1::HypotheticalRegistration { key_rings: vec!["dev".to_owned()], ..none() };
        assert_eq!(refused(registered(rings)), "registration.key_rings");
        let lifetime = Some(prost_types::Duration { seconds: 0, nanos: 1 });
        assert_eq!(
            refused(v1::ExplainAuthorizationRequest { api_key_lifetime: lifetime, ..question("") }),
            "api_key_lifetime"
        );
        let read = explain_request(request).unwrap();
        assert_eq!(read.caller.unwrap().as_str(), "checkout");
        assert_eq!(read.source, Some("::1".parse().unwrap()));
    }

    #[test]
    fn applying_needs_the_etag_of_what_is_replaced() {
        let request = v1::ApplyPolicySetRequest { documents: Vec::new(), etag: String::new() };
        assert_eq!(violation(apply_request(request).unwrap_err()).0, "etag");
    }

    #[test]
    fn findings_hold_errors_first_then_a_lockout_then_warnings() {
        let error = PolicyError {
            document: "a.cedar".to_owned(),
            policy_id: None,
            line: Some(3),
            column: None,
            message: "unexpected token".to_owned(),
            help: Some("did you mean `permit`?".to_owned()),
        };
        let check = PolicyCheck {
            hash: None,
            errors: vec![error],
            locks_out: true,
            warnings: vec!["never applies".to_owned()],
        };
        let response = validate_response(check);
        assert!(!response.valid && response.sha256.is_empty());
        let severities: Vec<_> = response.findings.iter().map(v1::PolicyFinding::severity).collect();
        assert_eq!(severities, [Severity::Error, Severity::Error, Severity::Warning]);
        assert_eq!(response.findings[0].message, "unexpected token (did you mean `permit`?)");
        assert_eq!((response.findings[0].line, response.findings[0].column), (3, 0));
    }

    #[test]
    fn only_unmet_clauses_are_shown_as_unmet() {
        let clause = |text: &str, outcome| Clause { text: text.to_owned(), outcome };
        let summary = PolicySummary {
            id: "p".to_owned(),
            effect: Effect::Permit,
            document: "a.cedar".to_owned(),
            description: None,
            annotations: Default::default(),
            text: "permit(..)".to_owned(),
        };
        let clauses = [
            clause("when { a }", ClauseOutcome::Satisfied),
            clause("when { b }", ClauseOutcome::NotSatisfied),
            clause("when { c }", ClauseOutcome::Failed("no such attribute".to_owned())),
            clause("when { d }", ClauseOutcome::NotReached),
        ];
        let shown = with_unmet(summary, unmet_clauses(&clauses));
        assert_eq!(shown.unmet, "when { b }; when { c } (could not be evaluated: no such attribute)");
        assert_eq!(shown.effect, "permit");
    }
}

//! Has cases decided by the service, of its callers and keys, under documents that need not be in force.

use chancery_api::v1;
use chancery_client::{Client, algorithm_to_proto};
use chancery_model::RingName;

use super::cases::{Case, ContextTable, Expectation, InputWord, KeyTable, RegistrationTable, TestFile};
use super::offline::{lifetime, time};
use super::report::Decided;
use crate::exit::Failure;
use crate::names::{Parsed, ResourceArgument, parse};

/// Asks of each case. What a file declares is not looked at, but for keys that the service does not have.
pub async fn decide(
    client: &Client,
    documents: &[v1::PolicyDocument],
    files: &[TestFile],
) -> Result<Vec<Decided>, Failure> {
    let mut decided = Vec::new();
    for file in files {
        for case in &file.cases {
            let refuse = |why: String| Failure::local(format!("{}: case {:?}: {why}", file.name, case.name));
            let question = question(file, case, documents).map_err(refuse)?;
            let answer = client.policy().explain_authorization(question).await;
            let answer = answer.map_err(|status| {
                Failure::from(client.error(status)).about(format!("{}: case {:?}", file.name, case.name))
            })?;
            let answer = answer.into_inner();
            let policies = answer.determining_policies.into_iter().map(|policy| policy.policy_id).collect();
            decided.push(Decided::new(&file.name, case, Expectation::of(answer.allowed), policies, answer.reason));
        }
    }
    Ok(decided)
}

fn question(
    file: &TestFile,
    case: &Case,
    documents: &[v1::PolicyDocument],
) -> Result<v1::ExplainAuthorizationRequest, String> {
    let at = time(&case.context)?.unix_micros();
    let ContextTable {
        source_address,
        time: _,
        input,
        input_bytes,
        batch_size,
        version,
        issuer,
        subject,
        alternative_names,
        audiences,
        lifetime: _,
        token_type,
        length,
        algorithm,
        allow_digest,
        registration,
    } = case.context.clone();
    let seconds = i64::try_from(lifetime(case.action, &case.context)?)
        .map_err(|_too_large| "context.lifetime is too long".to_owned())?;
    let mut resource = String::new();
    let mut described = algorithm.map(|algorithm| (algorithm, allow_digest.unwrap_or(false)));
    if let Some(name) = &case.resource {
        resource = name.parse::<ResourceArgument>()?.0;
        if let Ok(Parsed::Key(key)) = parse(name) {
            let declared = file.keys.get(&format!("{}/{}", key.ring, key.key));
            described = declared
                .map(|KeyTable { algorithm, allow_digest, labels: _, extractable: _ }| (*algorithm, *allow_digest));
            if let Some(version) = version {
                resource = key.version(version).to_string();
            }
        }
    }
    Ok(v1::ExplainAuthorizationRequest {
        caller: format!("callers/{}", case.caller),
        action: case.action.as_str().to_owned(),
        resource,
        algorithm: described.map_or(v1::Algorithm::Unspecified, |(algorithm, _)| algorithm_to_proto(algorithm)).into(),
        allow_digest: described.is_some_and(|(_, allow_digest)| allow_digest),
        digest: input == Some(InputWord::Digest),
        source_address: source_address.map(|address| address.to_string()).unwrap_or_default(),
        jwt: Some(v1::HypotheticalJwt {
            issuer: issuer.unwrap_or_default(),
            subject: subject.clone().unwrap_or_default(),
            audiences: audiences.unwrap_or_default(),
            lifetime: Some(prost_types::Duration { seconds, nanos: 0 }),
            r#type: token_type.unwrap_or_default(),
        }),
        certificate: Some(v1::HypotheticalCertificate {
            subject: subject.unwrap_or_default(),
            subject_alternative_names: alternative_names.unwrap_or_default(),
        }),
        length: i32::try_from(length.unwrap_or_default())
            .map_err(|_too_large| "context.length is too large".to_owned())?,
        time: Some(prost_types::Timestamp {
            seconds: at.div_euclid(1_000_000),
            nanos: i32::try_from(at.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
        }),
        input_bytes: input_bytes.unwrap_or_default().into(),
        batch_size: batch_size.unwrap_or_default().into(),
        documents: documents.to_vec(),
        registration: registration.map(hypothetical),
        api_key_lifetime: Some(prost_types::Duration { seconds, nanos: 0 }),
    })
}

fn hypothetical(registration: RegistrationTable) -> v1::HypotheticalRegistration {
    let RegistrationTable { environment, groups, roles, key_rings } = registration;
    v1::HypotheticalRegistration {
        environment: environment.map(|environment| environment.to_string()).unwrap_or_default(),
        groups: groups.iter().map(ToString::to_string).collect(),
        roles: roles.iter().map(ToString::to_string).collect(),
        key_rings: key_rings.into_iter().map(|ring| RingName { ring }.to_string()).collect(),
    }
}

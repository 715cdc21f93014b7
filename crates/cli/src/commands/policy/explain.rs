//! `chancery policy explain`: how a call would be decided, and why.

use std::net::IpAddr;
use std::time::Duration;

use chancery_api::v1;
use chancery_client::{Client, algorithm_to_proto};
use chancery_model::{Action, Algorithm};
use clap::Args;
use prost_types::Timestamp;

use super::folder;
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::names::{CallerArgument, ResourceArgument};
use crate::output::Output;
use crate::view::policy::ExplanationView;

/// Arguments of `policy explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Who would call [default: yourself]
    #[arg(long, value_name = "CALLER")]
    caller: Option<CallerArgument>,
    /// What would be called
    #[arg(long, value_name = "ACTION", value_parser = super::super::action(), ignore_case = true)]
    action: Action,
    /// On what: RING, RING/KEY (it need not exist), RING/KEY/VERSION or tokens/TOKEN; nothing for the policy set and the record
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<ResourceArgument>,
    /// For a key that does not exist yet: its algorithm
    #[arg(long, value_name = "ALGORITHM", value_parser = super::super::algorithm(), ignore_case = true)]
    algorithm: Option<Algorithm>,
    /// For a key that does not exist yet: it would allow digests
    #[arg(long)]
    allow_digest: bool,
    /// For Sign: a digest would be signed, not a message
    #[arg(long)]
    digest: bool,
    /// The address that the call would come from
    #[arg(long, value_name = "IP")]
    source_address: Option<IpAddr>,
    /// For SignJwt: the token's claim iss
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// For SignJwt: the token's claim sub; for CreateCertificateSigningRequest: whom the certificate would name
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// For CreateCertificateSigningRequest: a name with its kind, such as dns:shop.example; can be given several times
    #[arg(long = "alternative-name", value_name = "KIND:NAME")]
    alternative_names: Vec<String>,
    /// For SignJwt: one of the token's audiences; can be given several times
    #[arg(long = "audience", value_name = "TEXT")]
    audiences: Vec<String>,
    /// For SignJwt: from iat to exp, for example 5m [default: the key's longest]; for IssueApiKey and RotateApiKey: of the new key [default: 30d]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    lifetime: Option<Duration>,
    /// For SignJwt: the header's typ [default: JWT]
    #[arg(long = "type", value_name = "TYPE")]
    token_type: Option<String>,
    /// When it would be called (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::super::audit::timestamp)]
    time: Option<Timestamp>,
    /// For Sign, MacSign and MacVerify: length of the message in bytes [default: 1]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    input_bytes: Option<u32>,
    /// For Sign: how many items the call would hold [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: Option<u16>,
    /// Under this policy set instead of the one in force: a folder of *.cedar, or a file; can be given several times
    #[arg(long = "policy", value_name = "PATH")]
    documents: Vec<Source>,
    /// For GenerateRandomBytes: how many [default: 1]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(1..))]
    length: Option<i32>,
}

impl Explain {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let request = explain_request(self)?;
        let answer = client.policy().explain_authorization(request).await.map_err(|status| client.error(status))?;
        let view = ExplanationView::from(answer.into_inner());
        out.show(&view)?;
        Ok(if view.allowed { Exit::Done } else { Exit::No })
    }
}

fn explain_request(arguments: Explain) -> Result<v1::ExplainAuthorizationRequest, Failure> {
    let Explain {
        caller,
        action,
        resource,
        algorithm,
        allow_digest,
        digest,
        source_address,
        issuer,
        subject,
        alternative_names,
        audiences,
        lifetime,
        token_type,
        length,
        time,
        input_bytes,
        batch_size,
        documents,
    } = arguments;
    let certificate = v1::HypotheticalCertificate {
        subject: subject.clone().unwrap_or_default(),
        subject_alternative_names: alternative_names,
    };
    let lifetime: Option<prost_types::Duration> = lifetime.and_then(|lifetime| lifetime.try_into().ok());
    let jwt = v1::HypotheticalJwt {
        issuer: issuer.unwrap_or_default(),
        subject: subject.unwrap_or_default(),
        audiences,
        lifetime,
        r#type: token_type.unwrap_or_default(),
    };
    Ok(v1::ExplainAuthorizationRequest {
        caller: caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
        action: action.as_str().to_owned(),
        resource: resource.map(|ResourceArgument(name)| name).unwrap_or_default(),
        algorithm: algorithm.map_or(v1::Algorithm::Unspecified, algorithm_to_proto).into(),
        allow_digest,
        digest,
        source_address: source_address.map(|address| address.to_string()).unwrap_or_default(),
        jwt: Some(jwt),
        certificate: Some(certificate),
        length: length.unwrap_or_default(),
        time,
        input_bytes: input_bytes.unwrap_or_default().into(),
        batch_size: batch_size.unwrap_or_default().into(),
        documents: folder::read(&documents)?,
        registration: None,
        api_key_lifetime: lifetime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_in_the_words_of_the_api() {
        let request = explain_request(Explain {
            caller: Some("billing".parse().unwrap()),
            action: Action::Sign,
            resource: Some("dev/k".parse().unwrap()),
            algorithm: None,
            allow_digest: false,
            digest: true,
            source_address: Some("::1".parse().unwrap()),
            issuer: Some("https://issuer.example".to_owned()),
            subject: None,
            alternative_names: Vec::new(),
            audiences: vec!["a".to_owned(), "b".to_owned()],
            lifetime: Some(Duration::from_secs(300)),
            token_type: None,
            length: None,
            time: None,
            input_bytes: Some(70_000),
            batch_size: None,
            documents: Vec::new(),
        })
        .unwrap();
        assert_eq!((request.caller.as_str(), request.action.as_str()), ("callers/billing", "Sign"));
        assert_eq!((request.resource.as_str(), request.source_address.as_str()), ("keyRings/dev/keys/k", "::1"));
        assert_eq!((request.algorithm, request.digest), (0, true));
        assert_eq!((request.input_bytes, request.batch_size), (70_000, 0));
        let jwt = request.jwt.unwrap();
        assert_eq!((jwt.issuer.as_str(), jwt.audiences.len()), ("https://issuer.example", 2));
        assert_eq!(jwt.lifetime.unwrap().seconds, 300);
    }
}

//! KeyService: certificates.

use super::caller_signature::caller_signature;
use super::fields::{invalid, key_or_version, name};
use chancery_api::v1;
use chancery_core::{CertificateRequest, CertificateRequestAnswer, Error};
use chancery_crypto::AlternativeName;
use chancery_model::KeyVersionName;

pub(crate) fn signing_request_request(
    request: v1::CreateCertificateSigningRequestRequest,
) -> Result<CertificateRequest, Error> {
    let v1::CreateCertificateSigningRequestRequest {
        name,
        subject,
        subject_alternative_names,
        caller_signature: signed,
    } = request;
    let alternative_names =
        subject_alternative_names.into_iter().enumerate().map(alternative_name).collect::<Result<_, _>>()?;
    let name = key_or_version("name", &name)?;
    Ok(CertificateRequest { name, subject, alternative_names, caller_signature: caller_signature(signed)? })
}

fn alternative_name((place, given): (usize, v1::SubjectAlternativeName)) -> Result<AlternativeName, Error> {
    use v1::subject_alternative_name::Name;
    let field = |kind: &str| format!("subject_alternative_names[{place}]{kind}");
    let v1::SubjectAlternativeName { name } = given;
    match name {
        Some(Name::Dns(name)) => Ok(AlternativeName::Dns(name)),
        Some(Name::Ip(address)) => address
            .parse()
            .map(AlternativeName::Ip)
            .map_err(|error| invalid(field(".ip"), format!("is no IP address: {error}"))),
        Some(Name::Uri(uri)) => Ok(AlternativeName::Uri(uri)),
        Some(Name::Email(address)) => Ok(AlternativeName::Email(address)),
        None => Err(invalid(field(""), "must hold one of dns, ip, uri and email")),
    }
}

pub(crate) fn signing_request_response(
    answer: CertificateRequestAnswer,
) -> v1::CreateCertificateSigningRequestResponse {
    let CertificateRequestAnswer { version, der, pem, record_index } = answer;
    v1::CreateCertificateSigningRequestResponse { name: version.to_string(), der, pem, record_index }
}

pub(crate) fn set_chain_request(
    request: v1::SetCertificateChainRequest,
) -> Result<(KeyVersionName, Vec<Vec<u8>>), Error> {
    let v1::SetCertificateChainRequest { name: text, certificate_chain } = request;
    Ok((name("name", &text)?, certificate_chain))
}

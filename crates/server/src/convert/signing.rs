//! SigningService.

use super::enums::{algorithm_number, encoding, known, state_number};
use super::fields::{crc32c, invalid, key_or_version};
use crate::errors;
use chancery_api::v1;
use chancery_core::{Error, Input, KeyOrVersion, SignAnswer, SignRequest, VerifyAnswer, VerifyRequest, VersionEntry};

/// All inputs of a batch together, in bytes: what fits into one message with room to spare.
const MAX_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// What is to be signed, and whether its checksum was given and is right.
#[derive(Debug)]
pub(crate) struct Checked<T> {
    pub(crate) request: T,
    pub(crate) input_checked: bool,
}

pub(crate) fn sign_request(request: v1::SignRequest) -> Result<Checked<SignRequest>, Error> {
    let v1::SignRequest { name, input, encoding: number } = request;
    let name = key_or_version("name", &name)?;
    let encoding = encoding(number)?;
    let (input, input_checked) = sign_input(input)?;
    Ok(Checked { request: SignRequest { name, input, encoding }, input_checked })
}

pub(crate) fn sign_response(answer: SignAnswer, verified_input_crc32c: bool) -> v1::SignResponse {
    let SignAnswer { version, algorithm, signature, recovery_id, record_index } = answer;
    v1::SignResponse {
        name: version.to_string(),
        algorithm: algorithm_number(algorithm),
        signature_crc32c: ::crc32c::crc32c(&signature),
        signature,
        verified_input_crc32c,
        recovery_id: recovery_id.map(u32::from),
        record_index,
    }
}

/// A batch, item by item: one that cannot be read is an error at its place.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) requests: Vec<Result<SignRequest, Error>>,
    /// Whether each item's checksum was given and is right.
    pub(crate) input_checked: Vec<bool>,
}

pub(crate) fn batch_sign_request(request: v1::BatchSignRequest) -> Result<Batch, Error> {
    let v1::BatchSignRequest { requests } = request;
    let bytes: usize = requests.iter().map(input_bytes).sum();
    if bytes > MAX_BATCH_BYTES {
        let description = format!("the inputs have {bytes} bytes together; at most {MAX_BATCH_BYTES} are taken");
        return Err(invalid("requests", description));
    }
    let (requests, input_checked) = requests
        .into_iter()
        .map(|item| match sign_request(item) {
            Ok(Checked { request, input_checked }) => (Ok(request), input_checked),
            Err(error) => (Err(error), false),
        })
        .unzip();
    Ok(Batch { requests, input_checked })
}

pub(crate) fn batch_sign_result(answer: Result<SignAnswer, Error>, input_checked: bool) -> v1::BatchSignResult {
    use v1::batch_sign_result::Result as Item;
    let item = match answer {
        Ok(answer) => Item::Response(sign_response(answer, input_checked)),
        Err(error) => Item::Error(errors::refusal(&error).into_item_status()),
    };
    v1::BatchSignResult { result: Some(item) }
}

/// What is to be verified, and which checksums were given and are right.
#[derive(Debug)]
pub(crate) struct Verification {
    pub(crate) request: VerifyRequest,
    pub(crate) input_checked: bool,
    pub(crate) signature_checked: bool,
}

pub(crate) fn verify_request(request: v1::VerifyRequest) -> Result<Verification, Error> {
    let v1::VerifyRequest { name, input, signature, signature_crc32c, encoding: number } = request;
    let name = key_or_version("name", &name)?;
    let encoding = encoding(number)?;
    let (input, input_checked) = sign_input(input)?;
    let signature_checked = crc32c("signature_crc32c", signature_crc32c, &signature)?;
    let request = VerifyRequest { name, input, signature, encoding };
    Ok(Verification { request, input_checked, signature_checked })
}

pub(crate) fn verify_response(answer: &VerifyAnswer, input: bool, signature: bool) -> v1::VerifyResponse {
    let VerifyAnswer { version, valid, state } = answer;
    v1::VerifyResponse {
        name: version.to_string(),
        valid: *valid,
        state: state_number(*state),
        verified_input_crc32c: input,
        verified_signature_crc32c: signature,
    }
}

/// How a public key is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Pem,
    Der,
}

pub(crate) fn get_public_key_request(request: v1::GetPublicKeyRequest) -> Result<(KeyOrVersion, Format), Error> {
    let v1::GetPublicKeyRequest { name, format } = request;
    let name = key_or_version("name", &name)?;
    let format = match known("format", format)? {
        v1::PublicKeyFormat::Unspecified | v1::PublicKeyFormat::Pem => Format::Pem,
        v1::PublicKeyFormat::Der => Format::Der,
    };
    Ok((name, format))
}

/// The core answers versions that have a public key only.
pub(crate) fn public_key(version: &VersionEntry, format: Format) -> Result<v1::PublicKey, Error> {
    let public = version.public.as_ref().ok_or_else(|| errors::fault("a version without a public key was answered"))?;
    let (format, data) = match format {
        Format::Pem => (v1::PublicKeyFormat::Pem, public.to_pem().into_bytes()),
        Format::Der => (v1::PublicKeyFormat::Der, public.spki_der().to_vec()),
    };
    Ok(v1::PublicKey {
        name: version.name.to_string(),
        algorithm: algorithm_number(version.algorithm),
        state: state_number(version.state),
        format: format.into(),
        data_crc32c: ::crc32c::crc32c(&data),
        data,
        sha256: public.spki_sha256().to_vec(),
    })
}

fn sign_input(input: Option<v1::SignInput>) -> Result<(Input, bool), Error> {
    use v1::sign_input::Input as Given;
    let v1::SignInput { input, crc32c: given } = input.unwrap_or_default();
    let input = input.ok_or_else(|| invalid("input", "must hold either message or digest"))?;
    let (Given::Message(bytes) | Given::Digest(bytes)) = &input;
    let checked = crc32c("input.crc32c", given, bytes)?;
    let input = match input {
        Given::Message(bytes) => Input::Message(bytes),
        Given::Digest(bytes) => Input::Digest(bytes),
    };
    Ok((input, checked))
}

fn input_bytes(request: &v1::SignRequest) -> usize {
    use v1::sign_input::Input as Given;
    match request.input.as_ref().and_then(|input| input.input.as_ref()) {
        Some(Given::Message(bytes) | Given::Digest(bytes)) => bytes.len(),
        None => 0,
    }
}

#[cfg(test)]
pub(crate) mod tests;

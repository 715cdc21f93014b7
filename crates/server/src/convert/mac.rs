//! SigningService: MACs and random bytes.

use super::enums::{algorithm_number, state_number};
use super::fields::{crc32c, key_or_version, name};
use chancery_api::v1;
use chancery_core::{Error, MacSignAnswer, MacSignRequest, MacVerifyAnswer, MacVerifyRequest};
use chancery_model::RingName;

/// What a MAC is to be made of, and whether the message's checksum was given and is right.
pub(crate) struct Making {
    pub(crate) request: MacSignRequest,
    pub(crate) message_checked: bool,
}

pub(crate) fn mac_sign_request(request: v1::MacSignRequest) -> Result<Making, Error> {
    let v1::MacSignRequest { name, message, message_crc32c } = request;
    let name = key_or_version("name", &name)?;
    let message_checked = crc32c("message_crc32c", message_crc32c, &message)?;
    Ok(Making { request: MacSignRequest { name, message }, message_checked })
}

pub(crate) fn mac_sign_response(answer: MacSignAnswer, verified_message_crc32c: bool) -> v1::MacSignResponse {
    let MacSignAnswer { version, algorithm, mac, record_index } = answer;
    v1::MacSignResponse {
        name: version.to_string(),
        algorithm: algorithm_number(algorithm),
        mac_crc32c: ::crc32c::crc32c(&mac),
        mac,
        verified_message_crc32c,
        record_index,
    }
}

/// What is to be checked, and which checksums were given and are right.
pub(crate) struct Checking {
    pub(crate) request: MacVerifyRequest,
    pub(crate) message_checked: bool,
    pub(crate) mac_checked: bool,
}

pub(crate) fn mac_verify_request(request: v1::MacVerifyRequest) -> Result<Checking, Error> {
    let v1::MacVerifyRequest { name, message, message_crc32c, mac, mac_crc32c } = request;
    let name = key_or_version("name", &name)?;
    let message_checked = crc32c("message_crc32c", message_crc32c, &message)?;
    let mac_checked = crc32c("mac_crc32c", mac_crc32c, &mac)?;
    Ok(Checking { request: MacVerifyRequest { name, message, mac }, message_checked, mac_checked })
}

pub(crate) fn mac_verify_response(answer: &MacVerifyAnswer, message: bool, mac: bool) -> v1::MacVerifyResponse {
    let MacVerifyAnswer { version, valid, state, record_index } = answer;
    v1::MacVerifyResponse {
        name: version.to_string(),
        valid: *valid,
        state: state_number(*state),
        verified_message_crc32c: message,
        verified_mac_crc32c: mac,
        record_index: *record_index,
    }
}

pub(crate) fn random_request(request: v1::GenerateRandomBytesRequest) -> Result<(RingName, i64), Error> {
    let v1::GenerateRandomBytesRequest { name: ring, length } = request;
    Ok((name("name", &ring)?, length.into()))
}

pub(crate) fn random_response(data: Vec<u8>) -> v1::GenerateRandomBytesResponse {
    v1::GenerateRandomBytesResponse { data_crc32c: ::crc32c::crc32c(&data), data }
}

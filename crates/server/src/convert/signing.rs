//! SigningService.

use super::caller_signature::caller_signature;
use super::enums::{algorithm_number, encoding, state_number, verdict_number};
use super::fields::{crc32c, invalid, key_or_version};
use crate::errors::Refusal;
use chancery_api::v1;
use chancery_core::{
    Error, Input, NoReceipt, ReceiptAnswer, SignAnswer, SignRequest, Verdict, VerifyAnswer, VerifyRequest,
};

/// All inputs of a batch together, in bytes: what fits into one message with room to spare.
const MAX_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// Length of the longest correlation id, in bytes.
const MAX_CORRELATION_ID: usize = 64;

/// What is to be signed, and whether its checksum was given and is right.
#[derive(Debug)]
pub(crate) struct Checked<T> {
    pub(crate) request: T,
    pub(crate) input_checked: bool,
}

pub(crate) fn sign_request(request: v1::SignRequest) -> Result<Checked<SignRequest>, Error> {
    let v1::SignRequest { name, input, encoding: number, caller_signature: signed, receipt } = request;
    let name = key_or_version("name", &name)?;
    let encoding = encoding(number)?;
    let (input, input_checked) = sign_input(input)?;
    let request = SignRequest { name, input, encoding, caller_signature: caller_signature(signed)?, receipt };
    Ok(Checked { request, input_checked })
}

pub(crate) fn sign_response(answer: SignAnswer, verified_input_crc32c: bool) -> v1::SignResponse {
    let SignAnswer { version, algorithm, signature, recovery_id, record_index, receipt } = answer;
    let (receipt, receipt_status) = receipt_parts(receipt);
    v1::SignResponse {
        name: version.to_string(),
        algorithm: algorithm_number(algorithm),
        signature_crc32c: ::crc32c::crc32c(&signature),
        signature,
        verified_input_crc32c,
        recovery_id: recovery_id.map(u32::from),
        record_index,
        receipt,
        receipt_status,
    }
}

/// The receipt that an answer holds, and the word for why not.
pub(crate) fn receipt_parts(receipt: Option<ReceiptAnswer>) -> (String, i32) {
    let (receipt, status) = match receipt {
        None => (String::new(), v1::ReceiptStatus::Unspecified),
        Some(Ok(receipt)) => (receipt, v1::ReceiptStatus::Issued),
        Some(Err(why)) => {
            let status = match why {
                NoReceipt::NotKept => v1::ReceiptStatus::NotKept,
                NoReceipt::Unsigned => v1::ReceiptStatus::Unsigned,
                NoReceipt::NotInTime => v1::ReceiptStatus::NotInTime,
                NoReceipt::TooLarge => v1::ReceiptStatus::TooLarge,
                NoReceipt::Failed => v1::ReceiptStatus::Failed,
            };
            (String::new(), status)
        }
    };
    (receipt, status.into())
}

/// A batch, item by item: one that cannot be read is an error at its place.
#[derive(Debug)]
pub(crate) struct Batch<T, C> {
    pub(crate) requests: Vec<Result<T, Error>>,
    /// Which of each item's checksums were given and are right.
    pub(crate) checked: Vec<C>,
}

impl<T, C: Default> Batch<T, C> {
    /// Reads each item, if all inputs together, of which `bytes_of` counts an item's, are not too long.
    fn of<I>(
        items: Vec<I>,
        bytes_of: impl Fn(&I) -> usize,
        read: impl Fn(I) -> Result<(T, C), Error>,
    ) -> Result<Self, Error> {
        let bytes: usize = items.iter().map(bytes_of).sum();
        if bytes > MAX_BATCH_BYTES {
            let description = format!("the inputs have {bytes} bytes together; at most {MAX_BATCH_BYTES} are taken");
            return Err(invalid("requests", description));
        }
        let read = |item| match read(item) {
            Ok((request, checked)) => (Ok(request), checked),
            Err(error) => (Err(error), C::default()),
        };
        let (requests, checked) = items.into_iter().map(read).unzip();
        Ok(Self { requests, checked })
    }
}

pub(crate) fn batch_sign_request(request: v1::BatchSignRequest) -> Result<Batch<SignRequest, bool>, Error> {
    let v1::BatchSignRequest { requests } = request;
    let bytes_of = |item: &v1::SignRequest| input_bytes(item.input.as_ref());
    Batch::of(requests, bytes_of, |item| sign_request(item).map(|item| (item.request, item.input_checked)))
}

pub(crate) fn batch_sign_result(answer: Result<SignAnswer, Refusal>, input_checked: bool) -> v1::BatchSignResult {
    use v1::batch_sign_result::Result as Item;
    let item = match answer {
        Ok(answer) => Item::Response(sign_response(answer, input_checked)),
        Err(refusal) => Item::Error(refusal.into_item_status()),
    };
    v1::BatchSignResult { result: Some(item) }
}

/// Checks a stream's word for one of its messages.
pub(crate) fn correlation_id(id: &str) -> Result<(), Error> {
    match id.len() {
        1..=MAX_CORRELATION_ID => Ok(()),
        length => {
            Err(invalid("correlation_id", format!("has {length} bytes; give 1 to {MAX_CORRELATION_ID} of your choice")))
        }
    }
}

/// An answer under its message's word; of one that is too long, as much as is allowed.
pub(crate) fn stream_sign_response(
    mut id: String,
    result: Result<v1::SignResponse, Refusal>,
) -> v1::StreamSignResponse {
    use v1::stream_sign_response::Result as Item;
    id.truncate(id.floor_char_boundary(MAX_CORRELATION_ID));
    let item = match result {
        Ok(response) => Item::Response(response),
        Err(refusal) => Item::Error(refusal.into_item_status()),
    };
    v1::StreamSignResponse { correlation_id: id, result: Some(item) }
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
    let VerifyAnswer { version, verdict, state } = answer;
    v1::VerifyResponse {
        name: version.to_string(),
        valid: *verdict == Verdict::Valid,
        verdict: verdict_number(*verdict),
        state: state_number(*state),
        verified_input_crc32c: input,
        verified_signature_crc32c: signature,
    }
}

/// Which of an item's two checksums, of input and signature, were given and are right.
type VerificationChecked = (bool, bool);

pub(crate) fn batch_verify_request(
    request: v1::BatchVerifyRequest,
) -> Result<Batch<VerifyRequest, VerificationChecked>, Error> {
    let v1::BatchVerifyRequest { requests } = request;
    let bytes_of = |item: &v1::VerifyRequest| input_bytes(item.input.as_ref()) + item.signature.len();
    Batch::of(requests, bytes_of, |item| {
        verify_request(item).map(|item| (item.request, (item.input_checked, item.signature_checked)))
    })
}

pub(crate) fn batch_verify_result(
    answer: Result<VerifyAnswer, Refusal>,
    (input, signature): VerificationChecked,
) -> v1::BatchVerifyResult {
    use v1::batch_verify_result::Result as Item;
    let item = match answer {
        Ok(answer) => Item::Response(verify_response(&answer, input, signature)),
        Err(refusal) => Item::Error(refusal.into_item_status()),
    };
    v1::BatchVerifyResult { result: Some(item) }
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

fn input_bytes(input: Option<&v1::SignInput>) -> usize {
    use v1::sign_input::Input as Given;
    match input.and_then(|input| input.input.as_ref()) {
        Some(Given::Message(bytes) | Given::Digest(bytes)) => bytes.len(),
        None => 0,
    }
}

#[cfg(test)]
pub(crate) mod tests;

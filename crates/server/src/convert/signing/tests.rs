//! Each bad input, with its exact violation.

use super::*;
use crate::errors;
use chancery_model::{Algorithm, EcdsaEncoding, KeyState, KeyVersionName};
use tonic_types::StatusExt;
use v1::sign_input::Input as Given;

/// Field and description of an invalid field, as a caller sees them.
pub(crate) fn violation(error: Error) -> (String, String) {
    let status = errors::status(&error);
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{error}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_FIELD");
    let mut violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations.len(), 1);
    let violation = violations.remove(0);
    (violation.field, violation.description)
}

const MESSAGE: &[u8] = b"123456789";
/// The check value of CRC-32C (the CRC catalogue's CRC-32/ISCSI).
const CRC: u32 = 0xe306_9283;

fn request(input: Option<Given>, crc32c: Option<u32>) -> v1::SignRequest {
    v1::SignRequest {
        name: "keyRings/payments/keys/jwt".to_owned(),
        input: Some(v1::SignInput { input, crc32c }),
        encoding: v1::SignatureEncoding::P1363.into(),
        caller_signature: None,
        receipt: false,
    }
}

fn message() -> Option<Given> {
    Some(Given::Message(MESSAGE.into()))
}

#[test]
fn a_good_request_is_read_whole() {
    let Checked { request, input_checked } = sign_request(request(message(), Some(CRC))).unwrap();
    assert!(input_checked);
    assert_eq!(request.name.to_string(), "keyRings/payments/keys/jwt");
    assert_eq!(request.encoding, EcdsaEncoding::P1363);
    assert!(matches!(request.input, Input::Message(bytes) if bytes == MESSAGE));
}

#[test]
fn a_checksum_that_was_not_given_is_not_claimed() {
    assert!(!sign_request(request(message(), None)).unwrap().input_checked);
}

#[test]
fn an_absent_oneof_or_input_is_refused() {
    let absent_oneof = sign_request(request(None, None)).unwrap_err();
    let absent_input = sign_request(v1::SignRequest { input: None, ..request(None, None) }).unwrap_err();
    for error in [absent_oneof, absent_input] {
        let (field, description) = violation(error);
        assert_eq!((field.as_str(), description.as_str()), ("input", "must hold either message or digest"));
    }
}

#[test]
fn a_wrong_checksum_is_refused_for_messages_and_digests() {
    for input in [message(), Some(Given::Digest(MESSAGE.into()))] {
        let (field, description) = violation(sign_request(request(input, Some(!CRC))).unwrap_err());
        assert_eq!(field, "input.crc32c");
        assert!(description.contains("9 bytes that arrived is 0xe3069283, and 0x1cf96d7c was given"), "{description}");
    }
}

#[test]
fn an_unknown_encoding_is_refused() {
    let (field, description) =
        violation(sign_request(v1::SignRequest { encoding: 9, ..request(message(), None) }).unwrap_err());
    assert_eq!(field, "encoding");
    assert_eq!(description, "9 is no value that this version knows; see the proto files of chancery.v1");
}

#[test]
fn a_malformed_name_is_refused() {
    let (field, _) =
        violation(sign_request(v1::SignRequest { name: "jwt".to_owned(), ..request(message(), None) }).unwrap_err());
    assert_eq!(field, "name");
}

#[test]
fn a_bad_item_of_a_batch_is_an_error_at_its_place() {
    let bad = v1::SignRequest { name: String::new(), ..request(message(), None) };
    let requests = vec![request(message(), Some(CRC)), bad, request(message(), None)];
    let batch = batch_sign_request(v1::BatchSignRequest { requests }).unwrap();
    assert_eq!(batch.requests.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(batch.checked, [true, false, false]);
}

#[test]
fn a_batch_of_more_than_3_mib_is_refused() {
    let half = || Some(Given::Message(vec![7; MAX_BATCH_BYTES / 2].into()));
    let fits = vec![request(half(), None), request(half(), None)];
    assert!(batch_sign_request(v1::BatchSignRequest { requests: fits.clone() }).is_ok());
    let requests = [fits, vec![request(Some(Given::Digest(vec![7].into())), None)]].concat();
    let (field, description) = violation(batch_sign_request(v1::BatchSignRequest { requests }).unwrap_err());
    assert_eq!(field, "requests");
    assert_eq!(description, "the inputs have 3145729 bytes together; at most 3145728 are taken");
}

#[test]
fn a_signature_is_answered_with_its_checksum() {
    let version: KeyVersionName = "keyRings/payments/keys/jwt/versions/2".parse().unwrap();
    let answer = SignAnswer {
        version,
        algorithm: Algorithm::EcdsaSecp256k1Sha256,
        signature: MESSAGE.to_vec(),
        recovery_id: Some(1),
        record_index: 17,
        receipt: Some(Ok("a receipt".to_owned())),
    };
    let response = sign_response(answer, true);
    assert_eq!(response.signature_crc32c, CRC);
    assert_eq!(response.name, "keyRings/payments/keys/jwt/versions/2");
    assert_eq!((response.recovery_id, response.record_index), (Some(1), 17));
    assert_eq!((response.receipt.as_str(), response.receipt_status()), ("a receipt", v1::ReceiptStatus::Issued));
    assert!(response.verified_input_crc32c);
}

#[test]
fn an_items_error_is_a_status_of_its_own() {
    use v1::batch_sign_result::Result as Item;
    let result = batch_sign_result(Err(errors::refusal(&Error::Overloaded)), false).result.unwrap();
    let Item::Error(status) = result else { panic!("not an error") };
    assert_eq!(status.code, i32::from(tonic::Code::ResourceExhausted));
    assert_eq!(status.details.len(), 2, "ErrorInfo and RetryInfo");
}

#[test]
fn a_stream_names_its_messages_in_1_to_64_bytes() {
    for id in ["a", &"ä".repeat(32)] {
        correlation_id(id).unwrap();
        assert_eq!(stream_sign_response(id.to_owned(), Ok(v1::SignResponse::default())).correlation_id, id);
    }
    for (id, length) in [("", 0), (&*"x".repeat(65), 65)] {
        let (field, description) = violation(correlation_id(id).unwrap_err());
        assert_eq!(field, "correlation_id");
        assert!(description.starts_with(&format!("has {length} bytes")), "{description}");
    }
    let cut = stream_sign_response(format!("x{}", "ä".repeat(1000)), Err(errors::refusal(&Error::Overloaded)));
    assert_eq!(cut.correlation_id, format!("x{}", "ä".repeat(31)), "63 bytes: no character is cut in half");
}

#[test]
fn a_batch_of_verifications_counts_signatures_too() {
    let long = || v1::VerifyRequest {
        input: Some(v1::SignInput { input: Some(Given::Message(vec![7; MAX_BATCH_BYTES - 9].into())), crc32c: None }),
        ..verification()
    };
    let batch = batch_verify_request(v1::BatchVerifyRequest { requests: vec![long()] }).unwrap();
    assert_eq!(batch.checked, [(false, true)]);
    let requests = vec![long(), verification()];
    assert_eq!(violation(batch_verify_request(v1::BatchVerifyRequest { requests }).unwrap_err()).0, "requests");
    let bad = v1::VerifyRequest { signature_crc32c: Some(0), ..verification() };
    let batch = batch_verify_request(v1::BatchVerifyRequest { requests: vec![bad, verification()] }).unwrap();
    assert_eq!(batch.requests.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
}

fn verification() -> v1::VerifyRequest {
    v1::VerifyRequest {
        name: "keyRings/payments/keys/jwt/versions/2".to_owned(),
        input: Some(v1::SignInput { input: message(), crc32c: None }),
        signature: MESSAGE.to_vec(),
        signature_crc32c: Some(CRC),
        encoding: 0,
    }
}

#[test]
fn the_signatures_checksum_is_checked_too() {
    let good = verify_request(verification()).unwrap();
    assert!(good.signature_checked && !good.input_checked);
    let damaged = v1::VerifyRequest { signature: b"12345678".to_vec(), ..verification() };
    assert_eq!(violation(verify_request(damaged).unwrap_err()).0, "signature_crc32c");
}

#[test]
fn a_verdict_names_version_and_state() {
    let version: KeyVersionName = "keyRings/payments/keys/jwt/versions/2".parse().unwrap();
    let answer = VerifyAnswer { version, verdict: Verdict::Valid, state: KeyState::Suspended };
    let response = verify_response(&answer, false, true);
    assert_eq!((response.valid, response.state()), (true, v1::KeyState::Suspended));
    assert!(response.verified_signature_crc32c && !response.verified_input_crc32c);
    for verdict in [Verdict::Invalid, Verdict::KeyCompromised, Verdict::KeyNotYetActive, Verdict::KeyDestroyed] {
        let response = verify_response(&VerifyAnswer { verdict, ..answer.clone() }, true, true);
        assert!(!response.valid, "{verdict:?}");
        assert!(!matches!(response.verdict(), v1::Verdict::Unspecified | v1::Verdict::Valid), "{verdict:?}");
    }
}

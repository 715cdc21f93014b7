//! Callers' own signatures of their requests.

use super::fields::{invalid, time};
use chancery_api::v1;
use chancery_core::{CallerSignature, Error};
use std::sync::Arc;

/// Length of the longest signature, in bytes: twice as long as one of an RSA key of 4096 bits.
const MAX_SIGNATURE_BYTES: usize = 1024;

/// A request's signature of its caller, where it has one.
pub(super) fn caller_signature(given: Option<v1::CallerSignature>) -> Result<Option<Arc<CallerSignature>>, Error> {
    given.map(read).transpose()
}

fn read(given: v1::CallerSignature) -> Result<Arc<CallerSignature>, Error> {
    let v1::CallerSignature { certificate_sha256, create_time, nonce, signature } = given;
    let created = create_time.ok_or_else(|| invalid("caller_signature.create_time", "must be given"))?;
    if created.nanos % 1000 != 0 {
        // What is cut off would not be signed.
        return Err(invalid("caller_signature.create_time", "must be whole microseconds"));
    }
    if signature.is_empty() || signature.len() > MAX_SIGNATURE_BYTES {
        let rule = format!("has 1 to {MAX_SIGNATURE_BYTES} bytes, not {}", signature.len());
        return Err(invalid("caller_signature.signature", rule));
    }
    Ok(Arc::new(CallerSignature::new(
        exactly("caller_signature.certificate_sha256", &certificate_sha256)?,
        time("caller_signature.create_time", created)?,
        exactly("caller_signature.nonce", &nonce)?,
        signature,
    )))
}

fn exactly<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_other_length| invalid(field, format!("has {N} bytes, not {}", bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    fn given() -> v1::CallerSignature {
        v1::CallerSignature {
            certificate_sha256: vec![1; 32],
            create_time: Some(prost_types::Timestamp { seconds: 5, nanos: 7000 }),
            nonce: vec![2; 16],
            signature: vec![3; 64],
        }
    }

    #[test]
    fn a_whole_signature_is_taken_as_it_is() {
        assert!(caller_signature(None).unwrap().is_none());
        let taken = caller_signature(Some(given())).unwrap().unwrap();
        assert_eq!((taken.certificate_sha256, taken.nonce), ([1; 32], [2; 16]));
        assert_eq!((taken.created.unix_micros(), taken.signature.as_slice()), (5_000_007, [3; 64].as_slice()));
    }

    #[test]
    fn what_is_malformed_is_named() {
        let finer = prost_types::Timestamp { seconds: 5, nanos: 7001 };
        let wrong = [
            ("certificate_sha256", v1::CallerSignature { certificate_sha256: vec![1; 31], ..given() }),
            ("create_time", v1::CallerSignature { create_time: None, ..given() }),
            ("create_time", v1::CallerSignature { create_time: Some(finer), ..given() }),
            ("nonce", v1::CallerSignature { nonce: vec![2; 17], ..given() }),
            ("nonce", v1::CallerSignature { nonce: Vec::new(), ..given() }),
            ("signature", v1::CallerSignature { signature: Vec::new(), ..given() }),
            ("signature", v1::CallerSignature { signature: vec![3; MAX_SIGNATURE_BYTES + 1], ..given() }),
        ];
        for (field, wrong) in wrong {
            assert_eq!(violation(caller_signature(Some(wrong)).unwrap_err()).0, format!("caller_signature.{field}"));
        }
    }
}

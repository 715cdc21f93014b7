//! What a lane does with its session: sign, make MACs and check them, get random bytes.

use super::fault::Fault;
use super::held::Held;
use super::mechanism;
use crate::return_codes::Cure;
use crate::wire::Operation;
use crate::{HsmErrorKind, MAX_RANDOM_BYTES};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use chancery_model::{Algorithm, KeyPurpose, TokenObjectId};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

/// Checks what tokens do not check, before one is asked.
pub(super) fn check(operation: &Operation<'_>) -> Result<(), Fault> {
    let (algorithm, purpose, input) = match *operation {
        Operation::Sign { algorithm, input, .. } => (algorithm, KeyPurpose::Signature, input),
        Operation::Mac { algorithm, message, .. } | Operation::VerifyMac { algorithm, message, .. } => {
            (algorithm, KeyPurpose::Mac, message)
        }
        Operation::Random { length } if (1..=MAX_RANDOM_BYTES).contains(&usize::from(length)) => return Ok(()),
        Operation::Random { length } => {
            let message = format!("{length} random bytes are not 1 to {MAX_RANDOM_BYTES}");
            return Err(Fault::new(HsmErrorKind::InputLength, message));
        }
    };
    if algorithm.purpose() != purpose {
        let message = format!("{algorithm} is not for the operation {}", operation.as_str());
        return Err(Fault::new(HsmErrorKind::InputLength, message));
    }
    mechanism::check_input(algorithm, input)
}

/// Does it. The answer's bytes are those of a lane's reply.
pub(super) fn act(held: &Held, session: &Session, operation: &Operation<'_>) -> Result<Vec<u8>, Fault> {
    let find = |algorithm: Algorithm, id: &TokenObjectId| -> Result<(Mechanism<'static>, ObjectHandle), Fault> {
        Ok((mechanism::signing(algorithm)?, held.key(session, id, algorithm.purpose())?))
    };
    match *operation {
        Operation::Sign { algorithm, id, input } => {
            let (mechanism, key) = find(algorithm, &id)?;
            // cryptoki 0.12 asks for the signature's length first: one more call into the module, which costs a
            // network HSM that does not answer it locally one more round trip.
            session.sign(&mechanism, key, input).map_err(|error| Fault::pkcs11("signing", &error))
        }
        Operation::Mac { algorithm, id, message } => {
            let (mechanism, key) = find(algorithm, &id)?;
            make_mac(session, &mechanism, key, message)
        }
        Operation::VerifyMac { algorithm, id, mac, message } => {
            let (mechanism, key) = find(algorithm, &id)?;
            let right = make_mac(session, &mechanism, key, message)?;
            Ok(vec![u8::from(verify_slices_are_equal(&right, mac).is_ok())])
        }
        Operation::Random { length } => session
            .generate_random_vec(u32::from(length))
            .map_err(|error| Fault::pkcs11("getting random bytes", &error).of_the_token()),
    }
}

/// Has the token make a MAC, and check it.
///
/// This is also how a MAC that somebody brings is checked: it is compared, here, with the one that the token makes, in
/// a time that depends on neither. C_Verify is never shown a wrong one: how long it takes over it is the token's affair,
/// and SoftHSM compares with memcmp, whose time tells how much of a guess is right.
fn make_mac(session: &Session, mechanism: &Mechanism<'_>, key: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Fault> {
    let mac = session.sign(mechanism, key, message).map_err(|error| Fault::pkcs11("making a MAC", &error))?;
    match session.verify(mechanism, key, message, &mac) {
        Ok(()) => Ok(mac),
        Err(error) => {
            let fault = Fault::pkcs11("checking a MAC that the token has just made", &error);
            // The table's word for a return code that is a verdict.
            if fault.kind != HsmErrorKind::WrongSignature || fault.cure != Cure::Benign {
                return Err(fault);
            }
            // Whatever state its session is in, another one begins anew.
            Err(Fault { cure: Cure::NewSession, ..fault }.retrying())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_only_what_it_is_for() {
        let id = TokenObjectId::try_from([1; 16].as_slice()).unwrap();
        for algorithm in Algorithm::ALL {
            let input = vec![
                0;
                match algorithm.hash() {
                    Some(hash) if algorithm.scheme() == chancery_model::SignatureScheme::RsaPkcs1 =>
                        19 + hash.output_bytes(),
                    Some(hash) => hash.output_bytes(),
                    None => 5,
                }
            ];
            let signs = check(&Operation::Sign { algorithm, id, input: &input }).is_ok();
            let makes_macs = check(&Operation::Mac { algorithm, id, message: &input }).is_ok();
            let checks_macs = check(&Operation::VerifyMac { algorithm, id, mac: &[0; 16], message: &input }).is_ok();
            let expected = match algorithm.purpose() {
                KeyPurpose::Signature => (true, false, false),
                KeyPurpose::Mac => (false, true, true),
            };
            assert_eq!((signs, makes_macs, checks_macs), expected, "{algorithm}");
        }
    }

    #[test]
    fn random_bytes_are_bounded() {
        for (length, fits) in [(0, false), (1, true), (1_024, true), (1_025, false), (u16::MAX, false)] {
            assert_eq!(check(&Operation::Random { length }).is_ok(), fits, "{length}");
        }
    }
}

//! MACs: made by the token, compared in the worker.
//!
//! A MAC has no public key, so none can be checked here. The worker has the token recognise (`C_Verify`) each MAC that
//! it makes (`C_Sign`) before the MAC leaves. A MAC that somebody brings is compared with one made so, in constant
//! time and in the worker: neither a token that takes its time over a good guess nor one that says yes to everything
//! helps a forger, and the right MAC of a message is never in the service unless it was asked for.

use super::Token;
use super::attempts::Answer;
use crate::wire::Operation;
use crate::{DeviceMac, DeviceVerdict, HsmErrorKind, HsmFailure, MAX_MAC_MESSAGE_BYTES, MacKey, SignTimes};
use chancery_fail_point::FailPoint;
use chancery_model::Algorithm;
use tokio::time::Instant;

impl Token {
    /// Makes the MAC of a message of at most [`MAX_MAC_MESSAGE_BYTES`]. The token has checked it with `C_Verify` and
    /// the same key before it is answered. Retries as [`Token::sign`] does.
    ///
    /// # Errors
    /// [`HsmFailure`], with the PKCS#11 function and return code where there was one;
    /// [`HsmErrorKind::WrongSignature`] where the token did not recognise its own MAC.
    pub async fn mac(&self, key: &MacKey, message: &[u8], deadline: Instant) -> Result<DeviceMac, HsmFailure> {
        let MacKey { id, algorithm } = *key;
        let length = mac_length(algorithm, message)?;
        self.ask(Operation::Mac { algorithm, id, message }, deadline, |answer| whole(key, length, answer)).await
    }

    /// Whether a MAC is the one that the token makes of the message, compared in constant time. A MAC of another length
    /// than the algorithm's, for example a truncated one, is not valid, and the token is not asked. Retries as
    /// [`Token::sign`] does; that the MAC is wrong is an answer and no failure.
    ///
    /// # Errors
    /// [`HsmFailure`], with the PKCS#11 function and return code where there was one.
    pub async fn verify_mac(
        &self,
        key: &MacKey,
        message: &[u8],
        mac: &[u8],
        deadline: Instant,
    ) -> Result<DeviceVerdict, HsmFailure> {
        let MacKey { id, algorithm } = *key;
        if mac.len() != mac_length(algorithm, message)? {
            return Ok(DeviceVerdict { valid: false, attempts: 0, times: SignTimes::default() });
        }
        self.ask(Operation::VerifyMac { algorithm, id, mac, message }, deadline, verdict).await
    }
}

/// The length of the MACs of an algorithm in bytes, where it is one for MACs and may read the message.
fn mac_length(algorithm: Algorithm, message: &[u8]) -> Result<usize, HsmFailure> {
    let refused = |message| HsmFailure::new(HsmErrorKind::InputLength, message);
    let length = algorithm.mac_bytes().ok_or_else(|| refused(format!("{algorithm} makes signatures, not MACs")))?;
    if message.len() > MAX_MAC_MESSAGE_BYTES {
        return Err(refused(format!(
            "the token reads the message itself for {algorithm}: at most {MAX_MAC_MESSAGE_BYTES} bytes, not {}",
            message.len()
        )));
    }
    Ok(length)
}

fn whole(key: &MacKey, length: usize, answer: Answer) -> Result<DeviceMac, HsmFailure> {
    FailPoint::TokenAnswered.pass();
    let Answer { bytes, attempts, times } = answer;
    if bytes.len() == length {
        return Ok(DeviceMac { bytes, attempts, times });
    }
    let MacKey { id, algorithm } = key;
    let message = format!("the token made a MAC of {} bytes with key {id} for {algorithm}", bytes.len());
    Err(HsmFailure { attempts, ..HsmFailure::new(HsmErrorKind::WrongSignature, message) })
}

fn verdict(answer: Answer) -> Result<DeviceVerdict, HsmFailure> {
    let Answer { bytes, attempts, times } = answer;
    match bytes.as_slice() {
        [0] => Ok(DeviceVerdict { valid: false, attempts, times }),
        [1] => Ok(DeviceVerdict { valid: true, attempts, times }),
        _ => {
            let message = "the worker said neither yes nor no to a MAC";
            Err(HsmFailure { attempts, ..HsmFailure::new(HsmErrorKind::Bug, message) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::TokenObjectId;

    fn answer(bytes: &[u8]) -> Answer {
        Answer { bytes: bytes.to_vec(), attempts: 1, times: SignTimes::default() }
    }

    #[test]
    fn a_mac_of_another_length_never_leaves() {
        let key = MacKey { id: TokenObjectId::try_from([1; 16].as_slice()).unwrap(), algorithm: Algorithm::HmacSha256 };
        for length in [0, 16, 31, 33, 64] {
            let failure = whole(&key, 32, answer(&vec![7; length])).unwrap_err();
            assert_eq!(failure.kind, HsmErrorKind::WrongSignature);
        }
        assert_eq!(whole(&key, 32, answer(&[7; 32])).unwrap().bytes, [7; 32]);
    }

    #[test]
    fn only_one_is_yes() {
        assert!(verdict(answer(&[1])).unwrap().valid);
        assert!(!verdict(answer(&[0])).unwrap().valid);
        for odd in [[].as_slice(), &[2], &[255], &[1, 1]] {
            assert_eq!(verdict(answer(odd)).unwrap_err().kind, HsmErrorKind::Bug);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anybody_is_asked() {
        let long = vec![0; MAX_MAC_MESSAGE_BYTES + 1];
        for algorithm in Algorithm::ALL {
            assert_eq!(mac_length(algorithm, &long[1..]).ok(), algorithm.mac_bytes(), "{algorithm}");
            let failure = mac_length(algorithm, &long).unwrap_err();
            assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0), "{algorithm}");
        }
    }
}

//! Random bytes from the token.

use super::Token;
use super::attempts::Answer;
use crate::wire::Operation;
use crate::{HsmErrorKind, HsmFailure, MAX_RANDOM_BYTES};
use tokio::time::Instant;

/// At least this many bytes are drawn: fewer may all be zero by chance, and this many are not.
const FEWEST_DRAWN: usize = 32;

impl Token {
    /// 1 to [`MAX_RANDOM_BYTES`] random bytes from the token's generator (`C_GenerateRandom`).
    ///
    /// What comes back is refused if it is all zeros or of another length. How good it is otherwise nobody can see in
    /// the bytes: that is what the token's certificate is for. They are drawn in a lane, since the control lane may
    /// be busy with an RSA key for seconds. Retries once.
    ///
    /// # Errors
    /// [`HsmFailure`]; [`HsmErrorKind::InputLength`] for none or too many bytes, [`HsmErrorKind::Bug`] for bytes
    /// that cannot be random.
    pub async fn random(&self, length: usize, deadline: Instant) -> Result<Vec<u8>, HsmFailure> {
        if length == 0 || length > MAX_RANDOM_BYTES {
            let message = format!("a token is asked for 1 to {MAX_RANDOM_BYTES} random bytes, not {length}");
            return Err(HsmFailure::new(HsmErrorKind::InputLength, message));
        }
        let drawn = length.max(FEWEST_DRAWN);
        // At most MAX_RANDOM_BYTES, which fits.
        let operation = Operation::Random { length: u16::try_from(drawn).unwrap_or(u16::MAX) };
        self.ask(operation, deadline, |answer| plausible(answer, drawn, length)).await
    }
}

fn plausible(answer: Answer, drawn: usize, length: usize) -> Result<Vec<u8>, HsmFailure> {
    let Answer { mut bytes, attempts, .. } = answer;
    let refused = |message: String| Err(HsmFailure { attempts, ..HsmFailure::new(HsmErrorKind::Bug, message) });
    if bytes.len() != drawn {
        return refused(format!("the token gave {} random bytes where {drawn} were drawn", bytes.len()));
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return refused(format!("the token gave {drawn} zeros as random bytes"));
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SignTimes;

    #[test]
    fn zeros_and_other_lengths_are_not_random() {
        let judged = |bytes: &[u8]| {
            let answer = Answer { bytes: bytes.to_vec(), attempts: 1, times: SignTimes::default() };
            plausible(answer, 32, 1)
        };
        for bytes in [[].as_slice(), &[0; 32], &[7; 31], &[7; 33]] {
            assert_eq!(judged(bytes).unwrap_err().kind, HsmErrorKind::Bug);
        }
        let mut lucky = [0; 32];
        lucky[31] = 1;
        assert_eq!(judged(&lucky).unwrap(), [0]);
    }
}

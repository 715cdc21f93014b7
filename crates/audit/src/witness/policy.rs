//! How many witnesses' cosignatures a checkpoint needs before it counts.

use crate::checkpoint::SignedCheckpoint;
use crate::note::{KeyName, NoteError, SignatureKind, Verified, VerifierKey};

/// The witnesses that are believed, and how many of them have to have cosigned. The same offline and in the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WitnessPolicy {
    keys: Vec<VerifierKey>,
    required: usize,
}

/// Why these witnesses make no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWitnessPolicy {
    /// A log's key.
    #[error("{0} is the key of a log (type 01); a witness has one of type 04")]
    Kind(KeyName),
    /// One witness could be counted twice.
    #[error("{0} is there twice, by its name or by its key; each witness counts once")]
    Twice(KeyName),
    /// More than there are.
    #[error("{required} cosignatures are required of {witnesses} witnesses")]
    TooMany {
        /// How many are required.
        required: usize,
        /// How many there are.
        witnesses: usize,
    },
}

/// Why a checkpoint does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotWitnessed {
    /// Too few cosignatures.
    #[error("the checkpoint has the cosignatures of {actual} of the witnesses, and {required} are required")]
    TooFew {
        /// How many are there.
        actual: usize,
        /// How many are required.
        required: usize,
    },
    /// One of them is false.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl WitnessPolicy {
    /// `required` of the witnesses with these keys.
    ///
    /// # Errors
    /// [`InvalidWitnessPolicy`].
    pub fn new(keys: Vec<VerifierKey>, required: usize) -> Result<Self, InvalidWitnessPolicy> {
        for (place, key) in keys.iter().enumerate() {
            if key.kind() != SignatureKind::Cosignature {
                return Err(InvalidWitnessPolicy::Kind(key.name().clone()));
            }
            let same = |other: &VerifierKey| {
                other.name() == key.name() || other.public().spki_der() == key.public().spki_der()
            };
            if keys.iter().take(place).any(same) {
                return Err(InvalidWitnessPolicy::Twice(key.name().clone()));
            }
        }
        if required > keys.len() {
            return Err(InvalidWitnessPolicy::TooMany { required, witnesses: keys.len() });
        }
        Ok(Self { keys, required })
    }

    /// The witnesses' keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// How many of them have to have cosigned.
    #[must_use]
    pub const fn required(&self) -> usize {
        self.required
    }

    /// Whether enough of the witnesses have cosigned; who has, and when. The log's own signature is another question:
    /// [`SignedCheckpoint::verify`].
    ///
    /// # Errors
    /// [`NotWitnessed`].
    pub fn check(&self, checkpoint: &SignedCheckpoint) -> Result<Vec<Verified<'_>>, NotWitnessed> {
        let cosignatures = checkpoint.cosignatures(&self.keys)?;
        if cosignatures.len() < self.required {
            return Err(NotWitnessed::TooFew { actual: cosignatures.len(), required: self.required });
        }
        Ok(cosignatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    struct Cosigner {
        pair: Ed25519KeyPair,
        key: VerifierKey,
    }

    impl Cosigner {
        fn new(name: &str, seed: u8, kind: SignatureKind) -> Self {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            let point = pair.public_key().as_ref().try_into().unwrap();
            Self { key: VerifierKey::new(KeyName::parse(name).unwrap(), kind, point).unwrap(), pair }
        }

        async fn cosign(&self, checkpoint: &mut SignedCheckpoint) {
            let signer = async |text: Vec<u8>| Ok::<_, ()>(self.pair.sign(&text).as_ref().try_into().unwrap());
            checkpoint.note_mut().cosign(&self.key, 1_700_000_000, signer).await.unwrap();
        }
    }

    fn witness(number: u8) -> Cosigner {
        Cosigner::new(&format!("w{number}"), number, SignatureKind::Cosignature)
    }

    #[tokio::test]
    async fn enough_of_the_witnesses_each_counted_once() {
        let witnesses = [1, 2, 3].map(witness);
        let keys: Vec<_> = witnesses.iter().map(|witness| witness.key.clone()).collect();
        let policy = WitnessPolicy::new(keys.clone(), 2).unwrap();
        let log = KeyName::parse("log").unwrap();
        let mut checkpoint = SignedCheckpoint::unsigned(Checkpoint::new(&log, 7, [7; 32])).unwrap();
        let few = |actual| Err(NotWitnessed::TooFew { actual, required: 2 });
        assert_eq!(policy.check(&checkpoint), few(0));
        witnesses[0].cosign(&mut checkpoint).await;
        witnesses[0].cosign(&mut checkpoint).await;
        witness(4).cosign(&mut checkpoint).await;
        assert_eq!(policy.check(&checkpoint), few(1), "twice the same, and a stranger");
        witnesses[2].cosign(&mut checkpoint).await;
        let names: Vec<_> = policy.check(&checkpoint).unwrap().iter().map(|one| one.key.name().as_str()).collect();
        assert_eq!(names, ["w1", "w3"]);
        assert_eq!(WitnessPolicy::default().check(&checkpoint).unwrap(), []);

        // The cosignatures are over another checkpoint.
        let moved = checkpoint.to_string().replacen("\n7\n", "\n8\n", 1);
        let moved = SignedCheckpoint::parse(moved.as_bytes()).unwrap();
        assert!(matches!(policy.check(&moved), Err(NotWitnessed::Note(NoteError::BadSignature { .. }))));
    }

    #[test]
    fn what_makes_no_policy_is_refused() {
        let key = |number| witness(number).key;
        let renamed = Cosigner::new("other", 1, SignatureKind::Cosignature).key;
        let reused = Cosigner::new("w1", 9, SignatureKind::Cosignature).key;
        let log = Cosigner::new("log", 5, SignatureKind::Ed25519).key;
        let twice = |name: &KeyName| Err(InvalidWitnessPolicy::Twice(name.clone()));
        assert_eq!(WitnessPolicy::new(vec![key(1), renamed.clone()], 1), twice(renamed.name()));
        assert_eq!(WitnessPolicy::new(vec![key(1), reused.clone()], 1), twice(reused.name()));
        assert_eq!(
            WitnessPolicy::new(vec![key(1), log.clone()], 1),
            Err(InvalidWitnessPolicy::Kind(log.name().clone()))
        );
        let many = InvalidWitnessPolicy::TooMany { required: 2, witnesses: 1 };
        assert_eq!(WitnessPolicy::new(vec![key(1)], 2), Err(many));
    }
}

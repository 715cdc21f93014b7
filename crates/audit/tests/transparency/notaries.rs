//! A log and a witness that sign with keys in memory, as a token does in its own.

use crate::growing::{grown, leaves};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::tree::Appender;
use std::convert::Infallible;
use std::future::{Ready, ready};

pub struct Notary {
    pair: Ed25519KeyPair,
    pub key: VerifierKey,
}

impl Notary {
    /// The log of this name; its private key is 32 times this byte.
    pub fn log(name: &str, seed: u8) -> Self {
        Self::new(name, seed, SignatureKind::Ed25519)
    }

    pub fn witness(name: &str, seed: u8) -> Self {
        Self::new(name, seed, SignatureKind::Cosignature)
    }

    fn new(name: &str, seed: u8, kind: SignatureKind) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let point = pair.public_key().as_ref().try_into().unwrap();
        Self { key: VerifierKey::new(KeyName::parse(name).unwrap(), kind, point).unwrap(), pair }
    }

    pub fn signer(&self) -> impl FnOnce(Vec<u8>) -> Ready<Result<[u8; 64], Infallible>> {
        |message| ready(Ok(self.pair.sign(&message).as_ref().try_into().unwrap()))
    }

    pub async fn checkpoint(&self, size: u64, root: [u8; 32]) -> SignedCheckpoint {
        let mut checkpoint = SignedCheckpoint::unsigned(Checkpoint::new(self.key.name(), size, root)).unwrap();
        checkpoint.note_mut().sign(&self.key, self.signer()).await.unwrap();
        checkpoint
    }
}

// Made by golang.org/x/mod v0.43.0 and github.com/transparency-dev/formats v0.1.1 with keys of 32 bytes 1 and 2.
pub const GO_CHECKPOINT: &str = "log.example/chancery\n300\n56/ILTiUT8eTBUUygJHUWCMojB9zTL2sBjlnE+vUtdU=\n\n— log.example/chancery /pSmBzcGsDTvjE5vjBNl87JDQFXGotXbLSNggN86Q+97UvFzfRfzzGk011EHGRoh2hksmnhkH8ETs8vnWNuC1R7qFwU=\n— witness.example/w1 3xwKNQAAAABrCrpNNZs6o7OXWz5BK1/VRcQvBIrBjICxwt8AMYaVGkCrFx2wT2AMRHNGtN1PheG5/R+sQ3LzF/aZcze+lNkhafxRCg==\n";
pub const GO_LOG: &str = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
pub const GO_WITNESS: &str = "witness.example/w1+df1c0a35+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU";
pub const GO_TIME: u64 = 0x6b0a_ba4d;

pub fn notaries() -> (Notary, Notary) {
    (Notary::log("log.example/chancery", 1), Notary::witness("witness.example/w1", 2))
}

pub fn tree_of_300() -> Appender {
    grown(&leaves(300)).0
}

/// A verifier key, which is written as it is read.
pub fn key(text: &str) -> VerifierKey {
    let key = VerifierKey::parse(text).unwrap();
    assert_eq!(key.to_string(), text);
    key
}

//! The token that the tests run on, and all in which it differs from the others: SoftHSM's, or Kryoptic's with
//! `CHANCERY_TEST_MODULE=kryoptic`. A difference that is not here is a failure.

#![allow(clippy::unwrap_used, reason = "these functions run inside tests, which stop at the first surprise")]

use chancery_api::v1::Algorithm;
use chancery_testkit::Module;

/// What is expected of one token and not of every other.
#[derive(Debug)]
pub struct TokenUnderTest {
    /// Occurs in what it says of who made it.
    pub manufacturer: &'static str,
    /// The algorithms that it does not have; it has all others.
    pub lacks: &'static [Algorithm],
    /// Whether C_Login in one session may run beside C_SignInit in another. In Kryoptic 1.5 each of the two can wait for a
    /// lock that the other has, for ever: what a session that is logged out behind our back leads to is then a hang, which
    /// costs calls their deadline, and the worker is replaced.
    pub logs_in_beside_signing: bool,
}

const SOFTHSM: TokenUnderTest = TokenUnderTest {
    manufacturer: "SoftHSM",
    lacks: &[Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87],
    logs_in_beside_signing: true,
};

const KRYOPTIC: TokenUnderTest = TokenUnderTest {
    manufacturer: "Kryoptic",
    lacks: &[Algorithm::EcdsaSecp256k1Sha256, Algorithm::EcdsaSecp256k1Keccak256],
    logs_in_beside_signing: false,
};

/// The token that this run is on.
#[must_use]
pub fn token_under_test() -> &'static TokenUnderTest {
    match Module::from_environment().unwrap() {
        Module::SoftHsm => &SOFTHSM,
        Module::Kryoptic => &KRYOPTIC,
    }
}

impl TokenUnderTest {
    /// Whether it has an algorithm.
    #[must_use]
    pub fn offers(&self, algorithm: Algorithm) -> bool {
        !self.lacks.contains(&algorithm)
    }

    /// Checks that a list, of `GetKeyRing` or `GetToken`, holds each algorithm that it has once, and no other.
    #[track_caller]
    pub fn assert_offered(&self, listed: &[i32]) {
        let every = (1..64).filter_map(|number| Algorithm::try_from(number).ok());
        let expected: Vec<i32> = every.filter(|algorithm| self.offers(*algorithm)).map(i32::from).collect();
        let mut listed = listed.to_vec();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }
}

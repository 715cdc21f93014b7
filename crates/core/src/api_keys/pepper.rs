//! The pepper: the key under which API keys are hashed. Derived in the device from a secret of the system ring, and in
//! memory only.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use chancery_crypto::ApiKeyText;

/// Ready to hash with. Held in memory and nowhere else.
pub(crate) struct Pepper(hmac::Key);

/// What is compared where there is no such key, so that there is as much to do as where there is one.
const NOBODYS: [u8; 32] = [0; 32];

impl Pepper {
    /// `derived` is what the device made of [`LABEL`](crate::system_ring::PEPPER_LABEL).
    pub fn new(derived: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived))
    }

    /// What the store keeps of a key.
    pub fn hash(&self, key: &ApiKeyText) -> [u8; 32] {
        #[cfg(test)]
        tests::HASHED.with(|hashed| hashed.set(hashed.get() + 1));
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, key.checked()).as_ref());
        hash
    }

    /// Whether this is the key of that hash; `None` is no key's. Takes as long for every answer.
    pub fn matches(&self, key: &ApiKeyText, hash: Option<&[u8; 32]>) -> bool {
        let equal = verify_slices_are_equal(&self.hash(key), hash.unwrap_or(&NOBODYS)).is_ok();
        equal && hash.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::Id;
    use std::cell::Cell;

    thread_local! {
        /// How many keys this thread has hashed.
        pub(super) static HASHED: Cell<u32> = const { Cell::new(0) };
    }

    /// Time shows this only on a machine that does nothing else; so the work is counted.
    #[test]
    fn an_unknown_id_a_wrong_secret_and_the_right_one_are_hashed_once_each() {
        let environment = Id::parse("the environment", "dev").unwrap();
        let (key, other) = (ApiKeyText::generate(&environment).unwrap(), ApiKeyText::generate(&environment).unwrap());
        let pepper = Pepper::new(&[1; 32]);
        let hash = pepper.hash(&key);
        for (text, known, matches) in
            [(&key, Some(&hash), true), (&other, Some(&hash), false), (&other, None, false), (&key, None, false)]
        {
            let before = HASHED.get();
            assert_eq!(pepper.matches(text, known), matches);
            assert_eq!(HASHED.get() - before, 1, "{matches}, of {known:?}");
        }
    }

    #[test]
    fn a_key_is_known_by_its_hash_under_its_pepper_alone() {
        let environment = Id::parse("the environment", "dev").unwrap();
        let (key, other) = (ApiKeyText::generate(&environment).unwrap(), ApiKeyText::generate(&environment).unwrap());
        let pepper = Pepper::new(&[1; 32]);
        let hash = pepper.hash(&key);
        assert!(pepper.matches(&key, Some(&hash)));
        assert!(!pepper.matches(&other, Some(&hash)) && !pepper.matches(&key, None));
        assert!(!Pepper::new(&[2; 32]).matches(&key, Some(&hash)));
    }

    #[test]
    fn it_is_hmac_sha256() {
        // RFC 4231, test case 2, by the same function.
        let tag = hmac::sign(&Pepper::new(b"Jefe").0, b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }
}

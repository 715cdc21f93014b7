//! Random bytes for salts and uids.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use chancery_model::Uid;

/// The random generator gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the operating system's random generator failed; nothing that needs a fresh salt or uid can go on")]
pub struct RandomError(#[source] Unspecified);

/// `N` bytes from aws-lc's cryptographic random generator, which is seeded by the operating system.
///
/// # Errors
/// [`RandomError`] where the operating system gives no entropy.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// A fresh uid: 128 random bits.
///
/// # Errors
/// [`RandomError`], as [`random_bytes`].
pub fn new_uid() -> Result<Uid, RandomError> {
    random_bytes().map(Uid::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_uid_comes_twice() {
        let uids: HashSet<Uid> = (0..1000).map(|_| new_uid().unwrap()).collect();
        assert_eq!(uids.len(), 1000);
        assert!(!uids.contains(&Uid::NONE));
    }

    #[test]
    fn each_byte_varies() {
        let samples: Vec<[u8; 48]> = (0..64).map(|_| random_bytes().unwrap()).collect();
        for index in 0..48 {
            let values: HashSet<u8> = samples.iter().map(|sample| sample[index]).collect();
            assert!(values.len() > 8, "byte {index} took {} values in 64 samples", values.len());
        }
    }
}

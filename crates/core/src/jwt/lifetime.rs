//! How long a key's tokens may live.

use chancery_crypto::jose_algorithm;
use chancery_model::Algorithm;
use std::time::Duration;

use crate::Error;

/// Of a key for which nothing else was said.
pub const DEFAULT_MAX_JWT_LIFETIME: Duration = Duration::from_secs(3600);
/// The longest that a key can be set to: 3650 days.
pub const LONGEST_JWT_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);

/// What the row of a new key says: whole seconds, or nothing for an algorithm that JOSE does not know.
pub(crate) fn of_new_key(algorithm: Algorithm, asked: Option<Duration>) -> Result<Option<u32>, Error> {
    let refused = |why: String| Err(Error::invalid("key.max_jwt_lifetime", why));
    match (jose_algorithm(algorithm), asked) {
        (None, None) => Ok(None),
        (None, Some(_)) => refused(format!("{algorithm} keys sign no JWTs; leave it out")),
        (Some(_), asked) => {
            let lifetime = asked.unwrap_or(DEFAULT_MAX_JWT_LIFETIME);
            match u32::try_from(lifetime.as_secs()) {
                Ok(seconds) if is_whole(lifetime) && in_bounds(lifetime) => Ok(Some(seconds)),
                _ => refused("must be whole seconds, from 1 second to 3650 days".to_owned()),
            }
        }
    }
}

/// What holds for a key whose row says `seconds`: a key that was made before there was the setting has the default.
pub(crate) fn in_force(algorithm: Algorithm, seconds: Option<u32>) -> Option<Duration> {
    jose_algorithm(algorithm)?;
    Some(seconds.map_or(DEFAULT_MAX_JWT_LIFETIME, |seconds| Duration::from_secs(seconds.into())))
}

pub(super) fn is_whole(lifetime: Duration) -> bool {
    lifetime.subsec_nanos() == 0
}

pub(super) fn in_bounds(lifetime: Duration) -> bool {
    (Duration::from_secs(1)..=LONGEST_JWT_LIFETIME).contains(&lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_the_default_or_what_was_asked_for_within_bounds() {
        let of = |asked| of_new_key(Algorithm::Ed25519, asked);
        assert_eq!(of(None).unwrap(), Some(3600));
        assert_eq!(of(Some(Duration::from_secs(1))).unwrap(), Some(1));
        assert_eq!(of(Some(LONGEST_JWT_LIFETIME)).unwrap(), Some(315_360_000));
        for wrong in [
            Duration::ZERO,
            Duration::from_millis(1500),
            LONGEST_JWT_LIFETIME + Duration::from_secs(1),
            Duration::from_secs(u64::MAX),
        ] {
            assert!(matches!(of(Some(wrong)), Err(Error::InvalidField { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn what_signs_no_jwts_has_no_lifetime() {
        for algorithm in [Algorithm::HmacSha256, Algorithm::AesCmac, Algorithm::EcdsaSecp256k1Keccak256] {
            assert_eq!(of_new_key(algorithm, None).unwrap(), None);
            assert!(of_new_key(algorithm, Some(DEFAULT_MAX_JWT_LIFETIME)).is_err());
            assert_eq!(in_force(algorithm, Some(7)), None);
        }
        assert_eq!(in_force(Algorithm::Ed25519, None), Some(DEFAULT_MAX_JWT_LIFETIME));
        assert_eq!(in_force(Algorithm::Ed25519, Some(7)), Some(Duration::from_secs(7)));
    }
}

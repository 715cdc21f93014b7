//! API keys as they are written: `chy_<environment>_<id><secret><checksum>`, 12, 30 and 6 characters of base62.
//!
//! The checksum is the CRC-32 (ISO-HDLC, as in zip) of everything before it, in base62 of six digits. It finds what was
//! mistyped or cut off before anybody is asked, and lets scanners tell a key from what only looks like one; it proves
//! nothing.

use crate::{RandomError, random_bytes};
use chancery_model::{ApiKeyId, Id};
use std::fmt;
use zeroize::Zeroizing;

/// What every API key begins with.
pub const API_KEY_PREFIX: &str = "chy_";

/// Digits of base62, in their order.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const SECRET_LENGTH: usize = 30;
const CHECKSUM_LENGTH: usize = 6;
/// Id, secret and checksum.
const TAIL_LENGTH: usize = ApiKeyId::LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH;

/// An API key with its secret: about 178 random bits. Wiped from memory when it is dropped, and shown by nothing but
/// [`ApiKeyText::reveal`].
#[derive(Clone)]
pub struct ApiKeyText {
    environment: Id,
    id: ApiKeyId,
    /// The whole key.
    text: Zeroizing<String>,
}

/// Why a text is no API key. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiKey {
    /// Not of the form.
    #[error("an API key has the form chy_<environment>_<48 characters>")]
    Form,
    /// Mistyped, cut off, or made up.
    #[error("the checksum of the API key is wrong: it was mistyped or damaged")]
    Checksum,
}

impl ApiKeyText {
    /// A new one, with an id and a secret of its own.
    ///
    /// # Errors
    /// [`RandomError`] where the operating system gives no entropy.
    pub fn generate(environment: &Id) -> Result<Self, RandomError> {
        let mut text =
            Zeroizing::new(String::with_capacity(API_KEY_PREFIX.len() + environment.as_str().len() + 1 + TAIL_LENGTH));
        text.push_str(API_KEY_PREFIX);
        text.push_str(environment.as_str());
        text.push('_');
        let tail = text.len();
        while text.len() < tail + ApiKeyId::LENGTH + SECRET_LENGTH {
            // 248 is four times 62: what is not below it would make some digits likelier than others.
            let [byte] = *Zeroizing::new(random_bytes::<1>()?);
            if let Some(digit) = BASE62.get(usize::from(byte % 62)).filter(|_| byte < 248) {
                text.push(char::from(*digit));
            }
        }
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        #[expect(
            clippy::expect_used,
            reason = "what is made here is of the form that is read; a test makes a thousand"
        )]
        Ok(Self::parse(&text).expect("a new API key is one"))
    }

    /// Reads one as it was shown.
    ///
    /// # Errors
    /// [`InvalidApiKey`]; that a key is well-formed does not mean that anybody issued it.
    pub fn parse(text: &str) -> Result<Self, InvalidApiKey> {
        let rest = text.strip_prefix(API_KEY_PREFIX).ok_or(InvalidApiKey::Form)?;
        let (environment, tail) = rest.rsplit_once('_').ok_or(InvalidApiKey::Form)?;
        let environment = Id::parse("the environment", environment).or(Err(InvalidApiKey::Form))?;
        if tail.len() != TAIL_LENGTH || !tail.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidApiKey::Form);
        }
        let (body, given) = text.split_at_checked(text.len() - CHECKSUM_LENGTH).ok_or(InvalidApiKey::Form)?;
        if checksum(body.as_bytes()) != given.as_bytes() {
            return Err(InvalidApiKey::Checksum);
        }
        let id = tail.get(..ApiKeyId::LENGTH).and_then(|id| id.parse().ok()).ok_or(InvalidApiKey::Form)?;
        Ok(Self { environment, id, text: Zeroizing::new(text.to_owned()) })
    }

    /// The environment that it says it is of.
    #[must_use]
    pub const fn environment(&self) -> &Id {
        &self.environment
    }

    /// The public part.
    #[must_use]
    pub const fn id(&self) -> ApiKeyId {
        self.id
    }

    /// What it is checked by: all of it, without the checksum.
    #[must_use]
    pub fn checked(&self) -> &[u8] {
        self.text.as_bytes().split_last_chunk::<CHECKSUM_LENGTH>().map_or(&[], |(checked, _)| checked)
    }

    /// The whole key, for the one time that it is shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyText({})", self.id)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32(bytes);
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for place in digits.iter_mut().rev() {
        *place = usize::try_from(rest % 62).ok().and_then(|digit| BASE62.get(digit)).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

/// CRC-32/ISO-HDLC, bit by bit: it is for a hundred bytes at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn environment(text: &str) -> Id {
        Id::parse("the environment", text).unwrap()
    }

    #[test]
    fn the_checksum_is_that_of_zip() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(b"123456789"), *b"3jZRME");
        assert_eq!(checksum(b""), *b"000000");
    }

    #[test]
    fn a_new_key_is_read_back_and_none_comes_twice() {
        let keys: Vec<ApiKeyText> = (0..1000).map(|_| ApiKeyText::generate(&environment("eu-prod")).unwrap()).collect();
        for key in &keys {
            let read = ApiKeyText::parse(key.reveal()).unwrap();
            assert_eq!((read.id(), read.environment().as_str()), (key.id(), "eu-prod"));
            assert_eq!(read.checked(), &key.reveal().as_bytes()[..key.reveal().len() - 6]);
            assert_eq!(key.reveal().len(), "chy_eu-prod_".len() + 48);
        }
        let ids: HashSet<ApiKeyId> = keys.iter().map(ApiKeyText::id).collect();
        assert_eq!(ids.len(), 1000);
        let characters: HashSet<char> =
            keys.iter().flat_map(|key| key.reveal()["chy_eu-prod_".len()..].chars()).collect();
        assert_eq!(characters.len(), 62);
    }

    #[test]
    fn what_is_mistyped_cut_off_or_made_up_is_refused() {
        let key = ApiKeyText::generate(&environment("prod")).unwrap();
        let text = key.reveal();
        for place in 0..text.len() {
            let other = if text.as_bytes()[place] == b'x' { "y" } else { "x" };
            let mut damaged = text.to_owned();
            damaged.replace_range(place..=place, other);
            assert!(ApiKeyText::parse(&damaged).is_err(), "a change at {place}");
            assert!(ApiKeyText::parse(&text[..place]).is_err(), "cut off at {place}");
        }
        for text in ["", "chy_", "chy_prod_", "chy_Prod_x", "sk_live_x", &format!("{text} "), &text.replace("prod", "")]
        {
            assert_eq!(ApiKeyText::parse(text).unwrap_err(), InvalidApiKey::Form, "{text:?}");
        }
    }

    #[test]
    fn nothing_shows_the_secret() {
        let key = ApiKeyText::generate(&environment("prod")).unwrap();
        let secret = &key.reveal()["chy_prod_".len() + 12..];
        assert!(!format!("{key:?}").contains(secret));
        let error = ApiKeyText::parse(&key.reveal().replace("chy_prod", "chy_Prod")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret));
    }
}

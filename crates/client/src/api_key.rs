//! API keys: the credential of a caller without a certificate.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::ClientError;

/// What every API key begins with.
const PREFIX: &str = "chy_";
/// Longer than any API key, in bytes.
const MAX_LENGTH: usize = 256;

/// An API key, `chy_<environment>_<48 characters>`. It is sent as `authorization: Bearer <key>`, over TLS only, is shown by
/// nothing, and is wiped from memory when the last client that uses it is dropped. (Buffers of HTTP/2 and TLS hold copies
/// for as long as they are sent; those are out of reach.)
#[derive(Clone)]
pub struct ApiKey {
    /// `Bearer <key>`, marked sensitive; its bytes are wiped when the last clone is dropped.
    authorization: HeaderValue,
}

impl ApiKey {
    /// Takes a key as it was shown when it was issued; white space around it (the line end of a file) is dropped.
    ///
    /// # Errors
    /// [`ClientError::Request`] where the text cannot be an API key. The error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let text = text.trim();
        let well_formed = text.len() <= MAX_LENGTH
            && text.strip_prefix(PREFIX).is_some_and(|rest| {
                rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
                    && rest
                        .rsplit_once('_')
                        .is_some_and(|(environment, secret)| !environment.is_empty() && !secret.is_empty())
            });
        if !well_formed {
            return Err(not_a_key());
        }
        let value = Bytes::from_owner(Zeroizing::new(format!("Bearer {text}").into_bytes()));
        let mut authorization = HeaderValue::from_maybe_shared(value).map_err(|_never_repeat_it| not_a_key())?;
        // Debug shows `Sensitive`, and HPACK keeps it out of its tables.
        authorization.set_sensitive(true);
        Ok(Self { authorization })
    }

    pub(crate) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }
}

fn not_a_key() -> ClientError {
    ClientError::Request { what: "this is no API key; one begins with chy_ and has three parts joined by _".to_owned() }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "chy_prod_abcdefghijkl0123456789ABCDEFGHIJabcdefghijZZZZZZ";

    #[test]
    fn a_key_becomes_a_bearer_token_that_nothing_shows() {
        let key = ApiKey::parse(&format!("{KEY}\n")).unwrap();
        assert_eq!(key.authorization().as_bytes(), format!("Bearer {KEY}").as_bytes());
        for shown in [format!("{key:?}"), format!("{:?}", key.authorization())] {
            assert!(!shown.contains("chy_"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "chy_", "chy_prod", "chy__secretsecret", "sk_live_secretsecret", "chy_prod_secret\nsecret"] {
            let error = ApiKey::parse(text).unwrap_err();
            assert!(!error.to_string().contains("secretsecret"), "{error}");
        }
    }
}

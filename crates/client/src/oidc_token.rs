//! Tokens of OpenID Connect issuers, read from the file into which somebody puts the next one: a projected service account
//! token of Kubernetes, for example.

use std::path::Path;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::ClientError;

/// Longer than any token that the service looks at, in bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// `Bearer <token>`, marked sensitive; its bytes are wiped when the last call that uses it is over.
pub(crate) fn read(path: &Path) -> Result<HeaderValue, ClientError> {
    let failed = |source| ClientError::OidcTokenFile { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| failed(Some(error)))?;
    let token = text.trim();
    // Three parts in base64url, joined by dots; what is in them is the service's to judge.
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let well_formed = token.len() <= MAX_LENGTH && token.bytes().all(of_a_token) && token.split('.').count() == 3;
    if !well_formed || token.split('.').any(str::is_empty) {
        return Err(failed(None));
    }
    let value = Bytes::from_owner(Zeroizing::new(format!("Bearer {token}").into_bytes()));
    let mut authorization = HeaderValue::from_maybe_shared(value).map_err(|_never_repeat_it| failed(None))?;
    // Debug shows `Sensitive`, and HPACK keeps it out of its tables.
    authorization.set_sensitive(true);
    Ok(authorization)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_file_is_sent_and_shown_by_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(read(&path), Err(ClientError::OidcTokenFile { source: Some(_), .. })));
        std::fs::write(&path, "eyJh.eyJi.c2lnbmF0dXJl\n").unwrap();
        let authorization = read(&path).unwrap();
        assert_eq!(authorization.as_bytes(), b"Bearer eyJh.eyJi.c2lnbmF0dXJl");
        assert!(!format!("{authorization:?}").contains("eyJ"), "{authorization:?}");
        for text in
            ["", "\n", "a.b", "a..c", "a.b.", "a.b.c.d", "chy_dev_secretsecret", "a.b.secret\nsecret", "a.b.sec ret"]
        {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, ClientError::OidcTokenFile { source: None, .. }), "{text:?}: {error}");
            let said = error.to_string().replace(path.to_str().unwrap(), "");
            assert!(!said.contains("sec"), "{error}");
        }
    }
}

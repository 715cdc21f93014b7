//! What is read of a key set, and what is left out.

use crate::keys::{Signer, jwks};
use crate::settings;
use chancery_oidc::{Issuer, JwksError, JwsAlgorithm, KeySource, KeysState, RefreshError, check_key_file};

async fn read(text: &str) -> Result<usize, JwksError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, text).unwrap();
    match Issuer::new(settings(KeySource::File(path))).refresh().await {
        Ok(count) => Ok(count),
        Err(RefreshError::Jwks { source, .. }) => Err(source),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn keys_of_use_are_taken_and_others_left_out() {
    let signers = JwsAlgorithm::ALL.map(|algorithm| Signer::new(algorithm, "k"));
    assert_eq!(read(&jwks(&signers.iter().collect::<Vec<_>>())).await.unwrap(), 5);
    let [rsa, _, ec, ..] = &signers;
    let set = |member: &str| format!(r#"{{"keys":[{member},{}],"more":{{}}}}"#, ec.jwk());
    // Without `alg`, an RSA key is for both.
    assert_eq!(read(&set(&format!("{{{}}}", rsa.bare_jwk()))).await.unwrap(), 3);
    for left_out in [
        r#"{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}"#.to_owned(),
        r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#.to_owned(),
        r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}"#.to_owned(),
        r#"{"kty":7}"#.to_owned(),
        "{}".to_owned(),
        format!(r#"{{{},"use":"enc"}}"#, ec.bare_jwk()),
        format!(r#"{{{},"key_ops":["sign"]}}"#, ec.bare_jwk()),
        format!(r#"{{{},"alg":"ES384"}}"#, ec.bare_jwk()),
        // The private half, which then others have, too.
        format!(r#"{{{},"d":"AA"}}"#, ec.bare_jwk()),
        // Not on the curve.
        r#"{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#.to_owned(),
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(),
    ] {
        assert_eq!(read(&set(&left_out)).await.unwrap(), 1, "{left_out}");
    }
}

#[tokio::test]
async fn what_is_no_key_set_is_refused() {
    let ec = Signer::new(JwsAlgorithm::Es256, "k").jwk();
    for text in ["", "[]", "{\"keys\":[],\"keys\":[]}", "{\"keys\":[]} x"] {
        assert!(matches!(read(text).await, Err(JwksError::Json(_))), "{text}");
    }
    for text in ["{}".to_owned(), "{\"keys\":{}}".to_owned(), format!("{{\"keys\":[{ec},7]}}"), ec.clone()] {
        assert!(matches!(read(&text).await, Err(JwksError::NoKeys)), "{text}");
    }
    let many = format!("{{\"keys\":[{}]}}", vec![ec; 65].join(","));
    assert!(matches!(read(&many).await, Err(JwksError::TooMany)));
    let missing = Issuer::new(settings(KeySource::File("/nowhere/jwks.json".into()))).refresh().await.unwrap_err();
    assert!(matches!(missing, RefreshError::File { .. }), "{missing}");
}

#[tokio::test]
async fn an_issuer_that_takes_its_only_key_back_is_heard_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let ec = Signer::new(JwsAlgorithm::Es256, "k").jwk();
    std::fs::write(&path, format!("{{\"keys\":[{ec}]}}")).unwrap();
    let issuer = Issuer::new(settings(KeySource::File(path.clone())));
    for (keys, count, state) in [
        (format!("[{ec}]"), 1, KeysState::Fresh),
        ("[]".to_owned(), 0, KeysState::Missing),
        (format!("[{ec}]"), 1, KeysState::Fresh),
        (r#"[{"kty":"oct","k":"c2VjcmV0"}]"#.to_owned(), 0, KeysState::Missing),
    ] {
        std::fs::write(&path, format!("{{\"keys\":{keys}}}")).unwrap();
        assert_eq!((issuer.refresh().await.unwrap(), issuer.state()), (count, state), "{keys}");
        // Whoever writes a configuration with such a file has the wrong file.
        let checked = check_key_file(&path);
        match checked {
            Ok(usable) => assert_eq!(usable, count),
            Err(RefreshError::Jwks { source: JwksError::NoneUsable, .. }) => assert_eq!(count, 0),
            Err(other) => panic!("{other}"),
        }
    }
}

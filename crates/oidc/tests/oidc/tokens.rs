//! Which tokens hold, and each reason why one does not.

use crate::keys::{Signer, base64, jwks};
use crate::{AUDIENCE, ISSUER, in_file, now};
use aws_lc_rs::hmac;
use chancery_crypto::sha256;
use chancery_model::{Identity, Timestamp};
use chancery_oidc::{Issuers, JwsAlgorithm, Proof, Refused, RequiredClaim};
use std::time::{Duration, SystemTime};

/// Claims of a token for an hour, with other ones in the place of some.
fn claims(other: &[(&str, &str)]) -> String {
    let now = now();
    let mut claims = vec![
        ("iss", format!("{ISSUER:?}")),
        ("aud", format!("{AUDIENCE:?}")),
        ("sub", "\"checkout\"".to_owned()),
        ("iat", now.to_string()),
        ("nbf", now.to_string()),
        ("exp", (now + 3600).to_string()),
    ];
    for (name, value) in other {
        claims.retain(|(known, _)| known != name);
        if !value.is_empty() {
            claims.push((name, (*value).to_owned()));
        }
    }
    let members: Vec<_> = claims.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

async fn trusting(keys: &[&Signer]) -> (Issuers, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (in_file(folder.path(), &jwks(keys), |_| {}).await, folder)
}

fn named(proof: &Proof) -> String {
    let Identity::Oidc { issuer, subject } = &proof.credential.identity else { panic!("{proof:?}") };
    assert_eq!(issuer, ISSUER);
    subject.clone()
}

fn subject(issuers: &Issuers, token: &str) -> Result<String, Refused> {
    issuers.verify(token, SystemTime::now()).map(|proof| named(&proof))
}

#[tokio::test]
async fn a_token_of_each_algorithm_holds_and_no_changed_one() {
    let signers = JwsAlgorithm::ALL.map(|algorithm| Signer::new(algorithm, algorithm.as_str()));
    let (issuers, _folder) = trusting(&signers.iter().collect::<Vec<_>>()).await;
    for signer in &signers {
        let token = signer.sign(&claims(&[]));
        let proof = issuers.verify(&token, SystemTime::now()).unwrap();
        assert_eq!(named(&proof), "checkout", "{}", signer.algorithm);
        // Another payload under the same signature, and the same one under another.
        let other = signer.sign(&claims(&[("sub", "\"admin\"")]));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (other_signed, other_signature) = other.rsplit_once('.').unwrap();
        for forged in [format!("{other_signed}.{signature}"), format!("{signed}.{other_signature}")] {
            assert_eq!(subject(&issuers, &forged), Err(Refused::Signature), "{}", signer.algorithm);
        }
        assert_eq!(subject(&issuers, &format!("{signed}.")), Err(Refused::Signature));
        // Another key of the same kind, in its name.
        let pretender = Signer::new(signer.algorithm, &signer.kid);
        assert_eq!(subject(&issuers, &pretender.sign(&claims(&[]))), Err(Refused::Signature));
    }
}

#[tokio::test]
async fn a_kubernetes_service_account_is_taken() {
    let signer = Signer::new(JwsAlgorithm::Rs256, "a5cdFv");
    let (issuers, _folder) = trusting(&[&signer]).await;
    let now = now();
    let token = signer.sign(&format!(
        r#"{{"aud":["https://other.internal","{AUDIENCE}"],"exp":{},"iat":{now},"iss":"{ISSUER}","jti":"8a2c6b9e-7d5c-4f6f-b8f6-0d7e3f6f1a11","kubernetes.io":{{"namespace":"shop","node":{{"name":"node-1","uid":"6c2d"}},"pod":{{"name":"checkout-7d9","uid":"77aa"}},"serviceaccount":{{"name":"checkout","uid":"14ee"}},"warnafter":{}}},"nbf":{now},"sub":"system:serviceaccount:shop:checkout"}}"#,
        now + 3607,
        now + 3000
    ));
    let proof = issuers.verify(&token, SystemTime::now()).unwrap();
    assert_eq!(named(&proof), "system:serviceaccount:shop:checkout");
    let credential = proof.credential;
    assert_eq!(credential.token_id, Some(sha256(b"8a2c6b9e-7d5c-4f6f-b8f6-0d7e3f6f1a11")));
    assert_eq!(credential.key_id, Some(sha256(b"a5cdFv")));
    assert_eq!(credential.expires, Timestamp::from_unix_micros((now + 3607 + 30) * 1_000_000), "with leeway");
}

#[tokio::test]
async fn algorithms_that_are_not_allowed_are_refused() {
    let signer = Signer::new(JwsAlgorithm::Rs256, "k");
    let folder = tempfile::tempdir().unwrap();
    let (issuers, _folder) = trusting(&[&signer]).await;
    let unsigned = format!("{}.{}.", base64(br#"{"alg":"none","kid":"k"}"#), base64(claims(&[]).as_bytes()));
    assert_eq!(subject(&issuers, &unsigned), Err(Refused::Algorithm));
    for name in ["None", "NONE", "rs256", "RS512", "ES256K", ""] {
        let token = signer.sign_with(&format!(r#"{{"alg":"{name}","kid":"k"}}"#), &claims(&[]));
        assert_eq!(subject(&issuers, &token), Err(Refused::Algorithm), "{name}");
    }
    // The public key as the secret of a MAC.
    let signed = format!("{}.{}", base64(br#"{"alg":"HS256","kid":"k"}"#), base64(claims(&[]).as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, signer.jwk().as_bytes()), signed.as_bytes());
    assert_eq!(subject(&issuers, &format!("{signed}.{}", base64(tag.as_ref()))), Err(Refused::Algorithm));
    // A key is for its algorithm alone.
    let token = signer.sign_with(r#"{"alg":"PS256","kid":"k"}"#, &claims(&[]));
    assert_eq!(subject(&issuers, &token), Err(Refused::UnknownKey));
    // One that is known here, and not allowed.
    let keys = jwks(&[&signer]);
    let only = in_file(folder.path(), &keys, |settings| {
        settings.algorithms = [JwsAlgorithm::Es256].into();
    });
    assert_eq!(subject(&only.await, &signer.sign(&claims(&[]))), Err(Refused::Algorithm));
}

/// Other claims, and what becomes of the token.
type Case<'a> = (&'a [(&'a str, &'a str)], Result<(), Refused>);

#[tokio::test]
async fn each_claim_is_looked_at() {
    let signer = Signer::new(JwsAlgorithm::Es256, "k");
    let (issuers, _folder) = trusting(&[&signer]).await;
    let now = now();
    let at = |offset: i64| (now + offset).to_string();
    let day_and_more = at(24 * 3600 + 60);
    let long = format!("\"{}\"", "x".repeat(1025));
    let near = format!("[\"{AUDIENCE}/\",\"{}\"]", AUDIENCE.to_uppercase());
    let cases: [Case<'_>; 38] = [
        (&[], Ok(())),
        (&[("iss", "\"https://elsewhere\"")], Err(Refused::Issuer)),
        (&[("iss", "\"https://kubernetes.default.svc.cluster.local/\"")], Err(Refused::Issuer)),
        (&[("iss", "")], Err(Refused::Claims)),
        (&[("iss", "[\"https://kubernetes.default.svc.cluster.local\"]")], Err(Refused::Claims)),
        (&[("aud", "\"somebody\"")], Err(Refused::Audience)),
        (&[("aud", "")], Err(Refused::Audience)),
        (&[("aud", "[]")], Err(Refused::Audience)),
        (&[("aud", &near)], Err(Refused::Audience)),
        (&[("aud", "{}")], Err(Refused::Claims)),
        (&[("aud", "[\"https://chancery.internal\",7]")], Err(Refused::Claims)),
        (&[("sub", "")], Err(Refused::Claims)),
        (&[("sub", "\"\"")], Err(Refused::Claims)),
        (&[("sub", "7")], Err(Refused::Claims)),
        // Where readers in C end a string, no two readers see the same.
        (&[("sub", "\"a\\u0000b\"")], Err(Refused::Malformed)),
        (&[("sub", "\"a\\u202eb\"")], Err(Refused::Claims)),
        (&[("sub", "\" checkout\"")], Err(Refused::Claims)),
        (&[("jti", "7")], Err(Refused::Claims)),
        (&[("aud", "\"https://other.example\"")], Ok(())),
        (&[("sub", "\"a\\nb\"")], Err(Refused::Claims)),
        (&[("sub", &long)], Err(Refused::Claims)),
        (&[("exp", "")], Err(Refused::Claims)),
        (&[("exp", "null")], Err(Refused::Claims)),
        (&[("exp", "\"9999999999\"")], Err(Refused::Claims)),
        (&[("exp", "1e300")], Err(Refused::Claims)),
        (&[("exp", "-1")], Err(Refused::Claims)),
        (&[("exp", &at(-31)), ("iat", &at(-3600)), ("nbf", "")], Err(Refused::Expired)),
        // Within the leeway of 30 seconds.
        (&[("exp", &at(-20)), ("iat", &at(-3600)), ("nbf", "")], Ok(())),
        (&[("iat", "")], Err(Refused::Claims)),
        (&[("iat", &at(90))], Err(Refused::NotYetValid)),
        (&[("iat", &at(20))], Ok(())),
        (&[("nbf", &at(90))], Err(Refused::NotYetValid)),
        (&[("nbf", &at(20))], Ok(())),
        (&[("nbf", "\"0\"")], Err(Refused::Claims)),
        // Not every issuer sends it.
        (&[("nbf", "")], Ok(())),
        (&[("exp", &day_and_more)], Err(Refused::Lifetime)),
        (&[("exp", &at(10)), ("iat", &at(20))], Err(Refused::Claims)),
        (&[("exp", &format!("{}.5", now + 60)), ("extra", "{\"a\":[1,2,{}]}")], Ok(())),
    ];
    for (other, expected) in cases {
        let found = subject(&issuers, &signer.sign(&claims(other))).map(drop);
        assert_eq!(found, expected, "{other:?}");
    }
}

#[tokio::test]
async fn claims_that_are_required_are_there() {
    let signer = Signer::new(JwsAlgorithm::Es256, "k");
    let folder = tempfile::tempdir().unwrap();
    let keys = jwks(&[&signer]);
    let issuers = in_file(folder.path(), &keys, |settings| {
        settings.subject_claim = "email".to_owned();
        let text = |text: &str| RequiredClaim::Text(text.to_owned());
        settings.required_claims = [
            ("email_verified".to_owned(), RequiredClaim::Flag(true)),
            ("groups".to_owned(), text("signers")),
            ("org".to_owned(), text("acme")),
        ]
        .into();
    });
    let issuers = issuers.await;
    let good =
        [("email", "\"a@b\""), ("email_verified", "true"), ("groups", "[\"x\",\"signers\"]"), ("org", "\"acme\"")];
    let with = |name: &str, value: &'static str| {
        let changed = good.map(|(known, old)| (known, if known == name { value } else { old }));
        subject(&issuers, &signer.sign(&claims(&changed)))
    };
    assert_eq!(with("", "").unwrap(), "a@b");
    assert_eq!(with("groups", "\"signers\"").unwrap(), "a@b");
    for value in ["", "false", "\"true\"", "1"] {
        assert_eq!(with("email_verified", value), Err(Refused::RequiredClaim), "{value}");
    }
    for value in ["", "[]", "[[\"signers\"]]", "{\"signers\":\"signers\"}", "\"signers \"", "true"] {
        assert_eq!(with("groups", value), Err(Refused::RequiredClaim), "{value}");
    }
    assert_eq!(with("org", "\"ACME\""), Err(Refused::RequiredClaim));
    assert_eq!(with("email", ""), Err(Refused::Claims), "sub is not asked");
}

#[tokio::test]
async fn each_part_of_the_header_is_looked_at() {
    let (signer, other) = (Signer::new(JwsAlgorithm::Es256, "k"), Signer::new(JwsAlgorithm::Es256, "other"));
    let (issuers, _folder) = trusting(&[&signer, &other]).await;
    for (header, expected) in [
        (r#"{"alg":"ES256","kid":"k"}"#, Ok(())),
        (r#"{"alg":"ES256","kid":"k","typ":"JWT","jku":"https://evil/","x5u":"https://evil/"}"#, Ok(())),
        (r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#, Err(Refused::Critical)),
        (r#"{"alg":"ES256","kid":"k","crit":[]}"#, Err(Refused::Critical)),
        (r#"{"alg":"ES256","kid":"k","b64":false,"crit":["b64"]}"#, Err(Refused::Critical)),
        (r#"{"alg":"ES256","kid":"unheard"}"#, Err(Refused::UnknownKey)),
        (r#"{"alg":"ES256","kid":"K"}"#, Err(Refused::UnknownKey)),
        (r#"{"alg":"ES256"}"#, Err(Refused::UnknownKey)),
        (r#"{"alg":"ES256","kid":"other"}"#, Err(Refused::Signature)),
        (r#"{"alg":"ES256","kid":7}"#, Err(Refused::Malformed)),
        (r#"{"alg":["ES256"],"kid":"k"}"#, Err(Refused::Malformed)),
        (r#"{"kid":"k"}"#, Err(Refused::Malformed)),
        (r#"{"alg":"ES256","alg":"ES256","kid":"k"}"#, Err(Refused::Malformed)),
        (r#"{"alg":"none","kid":"k","alg":"ES256"}"#, Err(Refused::Malformed)),
    ] {
        let found = subject(&issuers, &signer.sign_with(header, &claims(&[]))).map(drop);
        assert_eq!(found, expected, "{header}");
    }
    // A key of the token's own choice is no key of the issuer's.
    let header = format!(r#"{{"alg":"ES256","jwk":{{{}}}}}"#, Signer::new(JwsAlgorithm::Es256, "x").bare_jwk());
    assert_eq!(subject(&issuers, &signer.sign_with(&header, &claims(&[]))), Err(Refused::UnknownKey));
    // Without a kid, the only key for the algorithm.
    let (one, _folder) = trusting(&[&signer, &Signer::new(JwsAlgorithm::EdDsa, "e")]).await;
    assert!(subject(&one, &signer.sign_with(r#"{"alg":"ES256"}"#, &claims(&[]))).is_ok());

    let folder = tempfile::tempdir().unwrap();
    let keys = jwks(&[&signer]);
    let typed = in_file(folder.path(), &keys, |settings| settings.token_type = Some("at+jwt".to_owned()));
    let typed = typed.await;
    for (kind, expected) in [
        (r#","typ":"at+jwt""#, Ok(())),
        (r#","typ":"application/AT+JWT""#, Ok(())),
        (r#","typ":"JWT""#, Err(Refused::Type)),
        ("", Err(Refused::Type)),
    ] {
        let token = signer.sign_with(&format!(r#"{{"alg":"ES256","kid":"k"{kind}}}"#), &claims(&[]));
        assert_eq!(subject(&typed, &token).map(drop), expected, "{kind}");
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let signer = Signer::new(JwsAlgorithm::EdDsa, "k");
    let (issuers, _folder) = trusting(&[&signer]).await;
    let token = signer.sign(&claims(&[]));
    let parts: Vec<&str> = token.split('.').collect();
    let twice = signer.sign(&claims(&[]).replace("\"sub\":", "\"sub\":\"admin\",\"sub\":"));
    let inside = signer.sign(&claims(&[("x", r#"{"a":1,"a":2}"#)]));
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "chy_prod_something".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        format!(" {token}"),
        token.replace('.', ".\n"),
        // Padding, and bits that no byte has: the same bytes in another spelling.
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}B", parts[0], parts[1], parts[2].strip_suffix(|_: char| true).unwrap()),
        signer.sign("[]"),
        signer.sign("null"),
        signer.sign(&format!("{} ", &claims(&[])[1..])),
        twice,
        inside,
    ] {
        assert_eq!(subject(&issuers, &text), Err(Refused::Malformed), "{text}");
    }
    let long = signer.sign(&claims(&[("x", &format!("\"{}\"", "x".repeat(12 * 1024)))]));
    assert_eq!(subject(&issuers, &long), Err(Refused::TooLong));
}

#[tokio::test]
async fn what_was_proved_holds_until_it_expires_or_its_key_goes() {
    let (signer, next) = (Signer::new(JwsAlgorithm::Es256, "k"), Signer::new(JwsAlgorithm::Es256, "k"));
    let (issuers, folder) = trusting(&[&signer]).await;
    let now = SystemTime::now();
    let proof = issuers.verify(&signer.sign(&claims(&[])), now).unwrap();
    let after = |seconds: u64| now + Duration::from_secs(seconds);
    assert_eq!(issuers.still(&proof, after(3600)), Ok(()));
    assert_eq!(issuers.still(&proof, after(3600 + 31)), Err(Refused::Expired));
    // Another key in its place, which has the same name.
    std::fs::write(folder.path().join("jwks.json"), jwks(&[&next])).unwrap();
    issuers.iter().next().unwrap().refresh().await.unwrap();
    assert_eq!(issuers.still(&proof, now), Err(Refused::UnknownKey));
    // Its only key taken back, and none in its place.
    let proof = issuers.verify(&next.sign(&claims(&[])), now).unwrap();
    std::fs::write(folder.path().join("jwks.json"), jwks(&[])).unwrap();
    issuers.iter().next().unwrap().refresh().await.unwrap();
    assert_eq!(issuers.still(&proof, now), Err(Refused::UnknownKey));
    assert_eq!(issuers.verify(&next.sign(&claims(&[])), now), Err(Refused::UnknownKey));
    assert_eq!(Issuers::default().still(&proof, now), Err(Refused::Issuer));
}

#[test]
fn each_reason_has_a_word_of_its_own() {
    let words: std::collections::HashSet<_> = Refused::ALL.map(Refused::reason).into();
    assert_eq!(words.len(), Refused::ALL.len());
    assert!(words.iter().all(|word| word.starts_with("oidc_token_")));
}

//! Bounds of the time claims, and what is signed.

use super::*;

const NOW: i64 = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn read_for(text: &str, lifetime: Option<u64>) -> Result<Claims, Error> {
    Claims::read(
        text.to_owned(),
        lifetime.map(Duration::from_secs),
        Timestamp::from_unix_micros(NOW * 1_000_000 + 999_999),
    )
}

/// The payload by a key whose tokens live for an hour at most, or the field that is refused.
fn payload(text: &str, lifetime: Option<u64>) -> Result<String, String> {
    let key = "keyRings/r/keys/k".parse().unwrap();
    let made = read_for(text, lifetime).and_then(|claims| Ok(claims.payload(claims.validity(&key, HOUR)?)));
    made.map_err(|error| match error {
        Error::InvalidField { field, .. } => field,
        other => panic!("{other}"),
    })
}

#[test]
fn the_text_is_signed_as_given_with_the_times_at_its_end() {
    for (given, signed) in [
        ("{}", r#"{"iat":1800000000,"exp":1800003600}"#),
        (" {\n } \r\n\t", "{\n \"iat\":1800000000,\"exp\":1800003600}"),
        (
            r#"{"z":1.10,"a":"\u00e9","n":12345678901234567890123}"#,
            r#"{"z":1.10,"a":"\u00e9","n":12345678901234567890123,"iat":1800000000,"exp":1800003600}"#,
        ),
        (r#"{"a": [1, 2] }"#, r#"{"a": [1, 2] ,"iat":1800000000,"exp":1800003600}"#),
        (r#"{"iat":1800000010,"a":1}"#, r#"{"iat":1800000010,"a":1,"exp":1800003610}"#),
        (r#"{"exp":1800000001}"#, r#"{"exp":1800000001,"iat":1800000000}"#),
        (r#"{"exp":1800000001,"iat":1799999999}"#, r#"{"exp":1800000001,"iat":1799999999}"#),
    ] {
        let made = payload(given, None).unwrap();
        assert_eq!(made, signed);
        assert!(serde_json::from_str::<serde_json::Value>(&made).is_ok(), "{made}");
    }
}

#[test]
fn times_are_held_to_their_bounds() {
    let ok = None;
    for (text, lifetime, refused) in [
        // iat within a minute of the service's clock
        (r#"{"iat":1799999940}"#, None, ok),
        (r#"{"iat":1799999939}"#, None, Some("claims")),
        (r#"{"iat":1800000060}"#, None, ok),
        (r#"{"iat":1800000061}"#, None, Some("claims")),
        (r#"{"iat":-9223372036854775808}"#, None, Some("claims")),
        // exp after iat, within the key's lifetime
        (r#"{"exp":1800000000}"#, None, Some("claims")),
        (r#"{"exp":1800000001}"#, None, ok),
        (r#"{"exp":1800003600}"#, None, ok),
        (r#"{"exp":1800003601}"#, None, Some("claims")),
        (r#"{"exp":9223372036854775807}"#, None, Some("claims")),
        (r#"{"iat":1800000060,"exp":1800003660}"#, None, ok),
        (r#"{"iat":1799999940,"exp":1800003600}"#, None, Some("claims")),
        // exp or lifetime
        (r#"{"exp":1800000001}"#, Some(1), Some("lifetime")),
        ("{}", Some(0), Some("lifetime")),
        ("{}", Some(1), ok),
        ("{}", Some(3600), ok),
        ("{}", Some(3601), Some("lifetime")),
        ("{}", Some(u64::MAX), Some("lifetime")),
        // nbf before exp
        (r#"{"nbf":1800003599}"#, None, ok),
        (r#"{"nbf":1800003600}"#, None, Some("claims")),
        (r#"{"nbf":1800000009}"#, Some(10), ok),
        (r#"{"nbf":1800000010}"#, Some(10), Some("claims")),
        (r#"{"nbf":0}"#, None, ok),
        // whole numbers
        (r#"{"iat":1800000000.0}"#, None, Some("claims")),
        (r#"{"exp":1.8e9}"#, None, Some("claims")),
        (r#"{"exp":"1800000001"}"#, None, Some("claims")),
        (r#"{"nbf":null}"#, None, Some("claims")),
        (r#"{"exp":18446744073709551615}"#, None, Some("claims")),
    ] {
        let made = payload(text, lifetime);
        assert_eq!(made.as_ref().err().map(String::as_str), refused, "{text} {lifetime:?}: {made:?}");
    }
    let fraction = Claims::read("{}".to_owned(), Some(Duration::from_millis(1500)), Timestamp::from_unix_micros(0));
    assert!(fraction.is_err());
}

#[test]
fn policy_sees_issuer_subject_audiences_and_lifetime() {
    let claims = read_for(r#"{"iss":"i","sub":"s","aud":"a","exp":1800000090}"#, None).unwrap();
    assert_eq!((claims.issuer(), claims.subject(), claims.audiences()), (Some("i"), Some("s"), &["a".to_owned()][..]));
    assert_eq!(claims.lifetime_seconds(HOUR), 90);
    let claims = read_for(r#"{"aud":["a","b"]}"#, Some(7200)).unwrap();
    assert_eq!((claims.issuer(), claims.subject(), claims.audiences().len()), (None, None, 2));
    assert_eq!(claims.lifetime_seconds(HOUR), 7200, "what was asked for, also where the key will refuse it");
    assert_eq!(read_for("{}", None).unwrap().lifetime_seconds(HOUR), 3600);
}

#[test]
fn claims_that_policy_reads_have_their_types() {
    let many = |count: usize| format!(r#"{{"aud":[{}]}}"#, vec!["\"a\""; count].join(","));
    let long = |name: &str, bytes: usize| format!(r#"{{"{name}":"{}"}}"#, "a".repeat(bytes));
    let long_audiences =
        |count: usize| format!(r#"{{"aud":[{}]}}"#, vec![format!("{:?}", "a".repeat(512)); count].join(","));
    for good in [
        r#"{"aud":[]}"#,
        r#"{"iss":"","sub":""}"#,
        r#"{"jti":7,"x":{"iss":1}}"#,
        &many(64),
        &long("sub", 512),
        &long("x", 5000),
        &long_audiences(8),
    ] {
        assert!(payload(good, None).is_ok(), "{good}");
    }
    for bad in [
        r#"{"iss":1}"#,
        r#"{"sub":null}"#,
        r#"{"sub":["a"]}"#,
        r#"{"aud":1}"#,
        r#"{"aud":{}}"#,
        r#"{"aud":["a",1]}"#,
        &many(65),
        &long("iss", 513),
        &long("sub", 513),
        &long("aud", 513),
        &long_audiences(9),
    ] {
        assert_eq!(payload(bad, None).unwrap_err(), "claims", "{bad}");
    }
}

#[test]
fn no_name_is_a_registered_claim_to_those_who_ignore_case_alone() {
    for bad in [
        r#"{"sub":"ada","Sub":"root"}"#,
        r#"{"SUB":"root"}"#,
        r#"{"exp":1800000001,"EXP":9999999999}"#,
        r#"{"\u017fub":"root"}"#,
        r#"{"i\u017fs":"other"}"#,
        r#"{"Aud":"a"}"#,
        r#"{"Nbf":0}"#,
        r#"{"Iat":0}"#,
        r#"{"JTI":"7"}"#,
    ] {
        assert_eq!(payload(bad, None).unwrap_err(), "claims", "{bad}");
    }
    for good in [r#"{"jti":"7"}"#, r#"{"x":{"Sub":"root"}}"#, r#"{"Subject":"root","sub ":"x"}"#] {
        assert!(payload(good, None).is_ok(), "{good}");
    }
}

#[test]
fn claims_have_at_most_16_kib() {
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert_eq!(sized(100).len(), 100);
    assert!(payload(&sized(16 * 1024), None).is_ok());
    assert_eq!(payload(&sized(16 * 1024 + 1), None).unwrap_err(), "claims");
}

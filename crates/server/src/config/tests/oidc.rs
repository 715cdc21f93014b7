//! `[[listener.oidc]]`, and what of tokens is said elsewhere.

use super::*;

/// The example of `[[listener.oidc]]`, with the files of the test's folder.
fn oidc_example() -> String {
    let (_, section) = EXAMPLE.split_once("### `[[listener.oidc]]`\n").unwrap();
    let (_, rest) = section.split_once("```toml\n").unwrap();
    let example = rest.split_once("```").unwrap().0;
    let files = "/var/run/secrets/kubernetes.io/serviceaccount/";
    example.replace(&format!("{files}ca.crt"), "tls/ca.pem").replace(&format!("{files}token"), "issuer-token")
}

impl Folder {
    /// What is found with an issuer, one text of which is replaced by another, beside that a certificate may be left out.
    fn oidc_findings(&self, from: &str, to: &str) -> Vec<(Severity, String, String)> {
        let example = oidc_example();
        assert!(example.contains(from), "{from}");
        let text =
            format!("{}\n{}", usable_example().replace("\"required\"", "\"optional\""), example.replace(from, to));
        let findings = check(&self.load(&text).unwrap()).into_iter();
        let findings = findings.filter(|finding| finding.field != "listener.client_auth");
        findings.map(|Finding { severity, field, message }| (severity, field, message)).collect()
    }
}

#[test]
fn an_issuer_is_parsed_as_documented_and_each_mistake_is_found() {
    let folder = Folder::new();
    folder.write("issuer-token", "t");
    folder.write("jwks.json", "{}");
    assert_eq!(folder.oidc_findings("", ""), []);
    let config = folder.load(&format!("{}\n{}", usable_example(), oidc_example())).unwrap();
    let oidc = &config.listener.oidc[0];
    assert_eq!(oidc.jwks_ca.as_deref(), Some(folder.0.path().join("tls/ca.pem").as_path()));
    assert_eq!((oidc.subject_claim.as_str(), oidc.max_token_lifetime), ("sub", Duration::from_secs(3600)));
    assert_eq!(oidc.to_issuer().unwrap().name(), "https://kubernetes.default.svc.cluster.local");
    let findings = check(&config);
    let [Finding { severity: Severity::Warning, field, .. }] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(field, "listener.oidc", "tokens count only beside a certificate");

    let url = "jwks_url = \"https://kubernetes.default.svc/openid/v1/jwks\"\n";
    for (from, to, field) in [
        ("issuer = \"https:", "issuer = \"http:", "issuer"),
        ("[\"https://chancery.internal\"]", "[]", "audiences"),
        ("[\"https://chancery.internal\"]", "[\"\"]", "audiences"),
        ("[\"RS256\"]", "[]", "algorithms"),
        ("clock_leeway_seconds = 30", "clock_leeway_seconds = 301", "clock_leeway_seconds"),
        ("max_stale_seconds = 86400", "max_stale_seconds = 299", "max_stale_seconds"),
        ("subject_claim = \"sub\"", "subject_claim = \"aud\"", "subject_claim"),
        (url, "", "jwks_file"),
        (url, &format!("{url}jwks_file = \"jwks.json\"\n"), "jwks_file"),
        ("jwks_ca = \"tls/ca.pem\"\n", "", "jwks_ca"),
        ("jwks_ca = \"tls/ca.pem\"", "jwks_ca = \"nowhere\"", "jwks_ca"),
        ("\"issuer-token\"", "\"nowhere\"", "jwks_token_file"),
    ] {
        let found = folder.oidc_findings(from, to);
        let [(Severity::Error, found, _)] = found.as_slice() else { panic!("{to}: {found:?}") };
        assert_eq!(*found, format!("listener.oidc.{field}"), "{to}");
    }
    let twice = folder.oidc_findings("[[listener.oidc]]", &format!("{}\n[[listener.oidc]]", oidc_example()));
    assert!(
        matches!(twice.as_slice(), [(Severity::Error, _, message)] if message.contains("given twice")),
        "{twice:?}"
    );
    // A key set without a key of use, and what is for addresses only.
    let found = folder.oidc_findings(url, "jwks_file = \"jwks.json\"\n");
    let messages: Vec<&str> = found.iter().map(|(_, _, message)| message.as_str()).collect();
    assert!(
        messages[0].contains("which are for jwks_url") && messages[1].contains("has no array \"keys\""),
        "{found:?}"
    );

    for (from, to) in [
        ("[\"RS256\"]", "[\"HS256\"]"),
        ("[\"RS256\"]", "[\"none\"]"),
        ("https://kubernetes.default.svc/", "http://k/"),
    ] {
        let text = format!("{}\n{}", usable_example(), oidc_example().replace(from, to));
        assert!(folder.load(&text).is_err(), "{to}");
    }
}

#[test]
fn identities_and_factors_of_tokens_are_checked() {
    let folder = Folder::new();
    let identity = "identities = [\"spiffe://chancery.dev/checkout\"]";
    let found = folder.only_finding(identity, "identities = [\"oidc:https://issuer.example#checkout\"]");
    assert_eq!((found.0, found.1.as_str()), (Severity::Warning, "caller.checkout.identities"));
    assert!(found.2.contains("no [[listener.oidc]] is the issuer of"), "{}", found.2);
    let both = format!("{identity}\nrequired_factors = [\"api-key\", \"oidc-token\"]");
    let found = folder.only_finding(identity, &both);
    assert_eq!((found.0, found.1.as_str()), (Severity::Error, "caller.checkout.required_factors"));
}

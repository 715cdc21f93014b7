//! A real HTTPS server in the issuer's place: keys that change, and a server that is down, slow, wrong or somebody else's.

use crate::keys::{Signer, jwks};
use crate::server::Server;
use crate::{AUDIENCE, ISSUER, now, settings};
use chancery_oidc::{
    FetchError, Issuer, Issuers, JwsAlgorithm, KeySource, KeysState, RefreshError, Refused, RequestError, Settings,
};
use std::time::{Duration, Instant, SystemTime};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    fn settings(&self) -> Settings {
        settings(KeySource::Url { url: self.url(), ca: self.ca.clone(), token: None })
    }
}

fn token(signer: &Signer) -> String {
    let now = now();
    signer.sign(&format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"checkout","iat":{now},"nbf":{now},"exp":{}}}"#,
        now + 3600
    ))
}

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn fetch_error(error: RefreshError) -> FetchError {
    match error {
        RefreshError::Fetch { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn keys_that_change_are_found_by_the_first_token_of_the_new_one() {
    let server = Server::start("127.0.0.1").await;
    let (old, new) = (Signer::new(JwsAlgorithm::Es256, "old"), Signer::new(JwsAlgorithm::EdDsa, "new"));
    server.answers("200 OK", &jwks(&[&old]));
    let issuer = Issuer::new(server.settings());
    let issuers = Issuers::from_iter([issuer.clone()]);
    let accepts = |signer: &Signer| issuers.verify(&token(signer), SystemTime::now()).is_ok();
    assert_eq!(issuers.verify(&token(&old), SystemTime::now()), Err(Refused::KeysUnavailable), "before the first time");
    let following = tokio::spawn(issuer.clone().follow());
    until("the first keys", || accepts(&old)).await;
    assert!(!accepts(&new));
    server.answers("200 OK", &jwks(&[&old, &new]));
    // The next time by the clock is minutes away.
    until("the new key", || accepts(&new)).await;
    assert!(accepts(&old), "both are there");
    server.answers("200 OK", &jwks(&[&new]));
    let stranger = Signer::new(JwsAlgorithm::EdDsa, "stranger");
    until("the old key is gone", || !accepts(&stranger) && !accepts(&old)).await;
    assert!(accepts(&new));
    following.abort();
}

#[tokio::test]
async fn however_many_unknown_keys_are_named_the_issuer_is_asked_seldom() {
    let server = Server::start("127.0.0.1").await;
    let (known, unknown) = (Signer::new(JwsAlgorithm::Es256, "known"), Signer::new(JwsAlgorithm::Es256, "unknown"));
    server.answers("200 OK", &jwks(&[&known]));
    // So long that it does not pass in this test.
    let issuer = Issuer::new(Settings { least_pause: Duration::from_secs(3600), ..server.settings() });
    let issuers = Issuers::from_iter([issuer.clone()]);
    let following = tokio::spawn(issuer.follow());
    until("the first keys", || issuers.verify(&token(&known), SystemTime::now()).is_ok()).await;
    for _ in 0..50 {
        assert_eq!(issuers.verify(&token(&unknown), SystemTime::now()), Err(Refused::UnknownKey));
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.requests(), 1);
    following.abort();
}

#[tokio::test]
async fn while_the_issuer_is_down_its_keys_are_used_until_they_are_too_old() {
    let server = Server::start("127.0.0.1").await;
    let signer = Signer::new(JwsAlgorithm::Rs256, "k");
    server.answers("200 OK", &jwks(&[&signer]));
    let pause = Duration::from_millis(20);
    let issuer = Issuer::new(Settings { refresh: pause, max_age: Duration::from_secs(2), ..server.settings() });
    let issuers = Issuers::from_iter([issuer.clone()]);
    let verify = || issuers.verify(&token(&signer), SystemTime::now());
    let read = Instant::now();
    issuer.refresh().await.unwrap();
    server.answers("503 Service Unavailable", "");
    let following = tokio::spawn(issuer.clone().follow());
    let asked = server.requests();
    until("it is asked again", || server.requests() > asked + 2).await;
    // What is asked for often is answered by what is there; on a machine that stands still for seconds, it is too old already.
    assert!(verify().is_ok() || read.elapsed() > Duration::from_secs(2));
    assert!(issuer.state() == KeysState::Old || read.elapsed() > Duration::from_secs(2));
    until("the keys are too old", || verify() == Err(Refused::KeysUnavailable)).await;
    assert!(read.elapsed() >= Duration::from_secs(2), "not before their time");
    assert!(issuer.age().unwrap() >= Duration::from_secs(2) && issuer.state() == KeysState::Missing);
    server.answers("200 OK", &jwks(&[&signer]));
    until("the issuer is back", || verify().is_ok() && issuer.state() == KeysState::Fresh).await;
    following.abort();
}

#[tokio::test]
async fn what_is_no_answer_of_the_issuers_is_refused() {
    let signer = Signer::new(JwsAlgorithm::Es256, "k");
    let server = Server::start("127.0.0.1").await;
    let refresh = |settings: Settings| async move { Issuer::new(settings).refresh().await };
    server.answers("200 OK", &jwks(&[&signer]));
    assert_eq!(refresh(server.settings()).await.unwrap(), 1);
    // A redirect is not followed, wherever it leads.
    server.answers("302 Found\r\nlocation: https://127.0.0.1/keys", "");
    assert!(
        matches!(fetch_error(refresh(server.settings()).await.unwrap_err()), FetchError::Status(status) if status == 302)
    );
    server.answers("200 OK", &format!("{}{}", jwks(&[&signer]), " ".repeat(256 * 1024)));
    assert!(
        matches!(
            fetch_error(refresh(server.settings()).await.unwrap_err()),
            FetchError::Request(RequestError::Http(_))
        ),
        "too large"
    );
    server.answers("200 OK", "<html></html>");
    assert!(matches!(refresh(server.settings()).await.unwrap_err(), RefreshError::Jwks { .. }));
    // Cut off in the middle.
    server.answers_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":[");
    assert!(matches!(
        fetch_error(refresh(server.settings()).await.unwrap_err()),
        FetchError::Request(RequestError::Http(_))
    ));

    server.answers("200 OK", &jwks(&[&signer]));
    let other = Server::start("127.0.0.1").await;
    let keys = KeySource::Url { url: server.url(), ca: other.ca.clone(), token: None };
    assert!(
        matches!(
            fetch_error(refresh(settings(keys)).await.unwrap_err()),
            FetchError::Request(RequestError::Connect(_))
        ),
        "another's authority"
    );
    let elsewhere = Server::start("issuer.example").await;
    elsewhere.answers("200 OK", &jwks(&[&signer]));
    assert!(
        matches!(
            fetch_error(refresh(elsewhere.settings()).await.unwrap_err()),
            FetchError::Request(RequestError::Connect(_))
        ),
        "another's name"
    );
    let keys = KeySource::Url { url: server.url(), ca: "/nowhere/ca.pem".into(), token: None };
    assert!(matches!(
        fetch_error(refresh(settings(keys)).await.unwrap_err()),
        FetchError::Request(RequestError::Authorities { .. })
    ));
    let keys = KeySource::Url { url: "https://127.0.0.1:1/".parse().unwrap(), ca: server.ca.clone(), token: None };
    assert!(
        matches!(
            fetch_error(refresh(settings(keys)).await.unwrap_err()),
            FetchError::Request(RequestError::Connect(_))
        ),
        "nobody there"
    );
}

#[tokio::test]
async fn who_asks_is_shown_where_the_keys_are_not_for_everybody() {
    let server = Server::start("127.0.0.1").await;
    server.answers("200 OK", &jwks(&[&Signer::new(JwsAlgorithm::Es256, "k")]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let keys = KeySource::Url { url: server.url(), ca: server.ca.clone(), token: Some(path.clone()) };
    let issuer = Issuer::new(settings(keys));
    let unreadable = |error| matches!(fetch_error(error), FetchError::Token { .. });
    assert!(unreadable(issuer.refresh().await.unwrap_err()), "no file");
    for nothing in ["", "\n", "a\nb"] {
        std::fs::write(&path, nothing).unwrap();
        let error = issuer.refresh().await.unwrap_err();
        assert!(!error.to_string().contains("a\nb") && unreadable(error));
    }
    assert_eq!(server.requests(), 0);
    for token in ["one", "another"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        issuer.refresh().await.unwrap();
        assert!(server.last_request().contains(&format!("authorization: Bearer {token}\r\n")), "read anew each time");
    }
}

//! The admin address, for machines that watch: plain HTTP, read-only.
//!
//! `/metrics` is for Prometheus, in its own format or as OpenMetrics. `/livez` says that the process answers. `/readyz` says whether it signs, and if not, why.

use crate::errors::token_reason;
use crate::metrics::{Format, Scrape};
use crate::tls::{Freshness, Tls};
use chancery_audit::LogHealth;
use chancery_core::{Chancery, CheckpointStanding, Health, WitnessStanding, WitnessTrouble};
use chancery_hsm::TokenState;
use chancery_oidc::{Issuer, Issuers, KeysState};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// From the connection to the end of a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection lives no longer, whatever it does.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Pause after the system refused to accept a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What is told of a record that is closed. What the database said, with its paths, is in the service's log only.
const RECORD_CLOSED: &str = "the record could not be written, so nothing is signed or changed; see that its disk has room \
                             and works, look at the service's log for the cause, and start the service again";

/// What is kept of the log is not what was signed.
const DAMAGED: &str = "log: damaged: a tile or leaf that is kept of the log is not what was signed, and is not handed out; \
                       see the log, stop the service, and run `chancery state check` (docs/operations.md)\n";

/// What the admin address answers from.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) scrape: Scrape,
    /// Set once the service has started.
    pub(crate) core: Arc<OnceLock<Chancery>>,
    /// Set once certificates and authorities have been read.
    pub(crate) tls: Arc<OnceLock<Tls>>,
    /// Whose tokens are accepted.
    pub(crate) issuers: Issuers,
    /// True once it is stopping.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Admin {
    /// Serves until dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let admin = self.clone();
                    tokio::spawn(async move {
                        let _slot = slot;
                        admin.connection(stream).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no admin connection can be accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(|request| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut protocol = http1::Builder::new();
        protocol.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        // A connection that breaks off is the other end's matter.
        let _ended = tokio::time::timeout(MAX_AGE, protocol.serve_connection(TokioIo::new(stream), service)).await;
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            "/metrics" => self.metrics(request.headers()),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        if *self.stop.borrow() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the service is stopping\n");
        }
        match self.core.get() {
            None => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the service is starting\n"),
            Some(core) => {
                let (status, mut words) = readiness(&core.health());
                if let Some(tls) = self.tls.get() {
                    words.push_str(&crls(tls, SystemTime::now()));
                }
                words.push_str(&issuers(&self.issuers));
                text(status, words)
            }
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        let format = Format::accepted(accept);
        match self.scrape.page(format) {
            Ok(metrics) => {
                let mut response = text(StatusCode::OK, metrics);
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
                headers.insert(header::VARY, HeaderValue::from_static("accept"));
                response
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "metrics cannot be written down");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written down; see the log\n")
            }
        }
    }
}

/// Whether the service signs, and each reason why it does not or not well; a token that is not up is named although others
/// are.
fn readiness(health: &Health) -> (StatusCode, String) {
    let (status, mut words) = if health.ready() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
    };
    if let LogHealth::Closed { reason: _, .. } = &health.record {
        words.push_str(&format!("record: closed: {RECORD_CLOSED}\n"));
    }
    if !health.state.decides() {
        words.push_str("state: unchecked: the token of the system ring does not answer\n");
    }
    if health.anchor.is_some() {
        words.push_str("anchor: not written: see the log; it is tried again each second\n");
    }
    if let Some(trouble) = health.archive {
        words.push_str(&format!("archive: {}: {trouble}\n", trouble.as_str()));
    }
    if let Some(standing) = &health.checkpoints {
        words.push_str(&log(standing));
    }
    for (id, token) in &health.tokens {
        if token.state == TokenState::Up {
            continue;
        }
        let state = token.state.as_str();
        match token.cause {
            None => words.push_str(&format!("tokens/{id}: {state}\n")),
            Some(cause) => words.push_str(&format!("tokens/{id}: {state}: {}\n", token_reason(cause))),
        }
    }
    (status, words)
}

/// What keeps the log from being signed, and each witness that does not cosign it. The service is ready all the same.
fn log(standing: &CheckpointStanding) -> String {
    let CheckpointStanding { trouble, witnesses, required, damaged, .. } = standing;
    let mut words = trouble.map(|trouble| format!("log: unsigned: {trouble}\n")).unwrap_or_default();
    if *damaged {
        words.push_str(DAMAGED);
    }
    if standing.too_few_cosign() {
        words.push_str(&format!(
            "log: uncounted: no new checkpoint counts, since fewer than the {required} witnesses that are required cosign\n"
        ));
    }
    for WitnessStanding { name, trouble } in witnesses {
        if let Some(trouble) = trouble {
            words.push_str(&format!("witness {name}: {}: {trouble}\n", WitnessTrouble::state(Some(*trouble))));
        }
    }
    words
}

/// A line for each CRL that is about to be out of date, or is. The service is ready all the same: a restart, or sending
/// callers elsewhere, brings no new CRL.
fn crls(tls: &Tls, now: SystemTime) -> String {
    let material = tls.current();
    let lines = material.authorities.crls().iter().map(|crl| match crl.freshness(now) {
        Freshness::Fresh => String::new(),
        Freshness::Due => format!("crl: due: {}\n", crl.shown(now)),
        Freshness::Stale => format!("crl: stale: {}\n", crl.shown(now)),
    });
    lines.collect()
}

/// A line for each OIDC issuer whose keys cannot be read. The service is ready all the same: other callers are let in, and
/// another instance would ask the same issuer.
fn issuers(issuers: &Issuers) -> String {
    let line = |issuer: &Issuer| {
        let name = issuer.name();
        match (issuer.state(), issuer.age()) {
            (KeysState::Fresh, _) => String::new(),
            (KeysState::Old, age) => format!(
                "oidc: old: the keys of {name} cannot be read again, and those of {} seconds ago are used until they are too \
                 old; the log says why\n",
                age.unwrap_or_default().as_secs()
            ),
            (KeysState::Missing, _) => format!(
                "oidc: missing: the keys of {name} cannot be read, or were not yet, so none of its tokens is accepted; the \
                 log says why\n"
            ),
        }
    };
    issuers.iter().map(line).collect()
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(words.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Exemplars;
    use chancery_core::{ArchiveTrouble, StateStanding};
    use chancery_hsm::{HealthCause, TokenHealth};
    use chancery_model::{Id, Timestamp};
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use std::collections::BTreeMap;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn health(record: LogHealth, tokens: &[(&str, TokenHealth)]) -> Health {
        let tokens = tokens.iter().map(|(id, token)| (Id::parse("the token id", id).unwrap(), token.clone()));
        let tokens = tokens.collect::<BTreeMap<_, _>>();
        Health { record, tokens, state: StateStanding::Checked, anchor: None, archive: None, checkpoints: None }
    }

    #[test]
    fn one_token_that_signs_is_ready_and_the_other_is_named() {
        let up = TokenHealth::now(TokenState::Up, None, "");
        let cause = HealthCause::ModuleFailed;
        let down = TokenHealth::now(TokenState::Down, Some(cause), "C_Initialize of /lib/x.so: CKR_GENERAL_ERROR");
        let (status, words) = readiness(&health(LogHealth::Open, &[("a", up), ("b", down)]));
        let expected = format!("ready\ntokens/b: down: {}\n", token_reason(cause));
        assert_eq!((status, words), (StatusCode::OK, expected));
    }

    #[test]
    fn a_state_that_nobody_has_checked_is_named() {
        let up = TokenHealth::now(TokenState::Up, None, "");
        let state = StateStanding::Unchecked { why: "C_Login returned 0xa0".to_owned() };
        let (status, words) = readiness(&Health { state, ..health(LogHealth::Open, &[("a", up)]) });
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(words, "not ready\nstate: unchecked: the token of the system ring does not answer\n");
    }

    #[test]
    fn an_anchor_that_is_not_written_is_named_and_the_service_is_ready() {
        let up = TokenHealth::now(TokenState::Up, None, "");
        let anchor = Some("No space left on device".to_owned());
        let (status, words) = readiness(&Health { anchor, ..health(LogHealth::Open, &[("a", up)]) });
        let expected = "ready\nanchor: not written: see the log; it is tried again each second\n".to_owned();
        assert_eq!((status, words), (StatusCode::OK, expected));
    }

    #[test]
    fn an_archive_that_is_away_is_named_and_the_service_is_ready() {
        let up = TokenHealth::now(TokenState::Up, None, "");
        let archive = Some(ArchiveTrouble::Unreadable);
        let (status, words) = readiness(&Health { archive, ..health(LogHealth::Open, &[("a", up)]) });
        assert_eq!(status, StatusCode::OK);
        assert!(words.starts_with("ready\narchive: unreadable: ") && words.lines().count() == 2, "{words}");
    }

    #[test]
    fn every_reason_is_given() {
        let record = LogHealth::Closed { since: Timestamp::from_unix_micros(0), reason: "disk full".to_owned() };
        let pin = HealthCause::PinRefused;
        let latched = TokenHealth::now(TokenState::Latched, Some(pin), "C_Login returned 0xa0");
        let starting = TokenHealth::now(TokenState::Starting, None, "");
        let (status, words) = readiness(&health(record, &[("a", latched), ("b", starting)]));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let pin = token_reason(pin);
        let expected =
            format!("not ready\nrecord: closed: {RECORD_CLOSED}\ntokens/a: latched: {pin}\ntokens/b: starting\n");
        assert_eq!(words, expected);
        assert!(!words.contains("disk full"), "what the database says is for the log");
    }

    async fn get(request: &str, stopping: bool) -> String {
        get_as(request, "*/*", stopping).await
    }

    async fn get_as(request: &str, accept: &str, stopping: bool) -> String {
        let (_stop, stopped) = watch::channel(stopping);
        let scrape = Scrape::new(Exemplars::default());
        let _provider = SdkMeterProvider::builder().with_reader(scrape.reader()).build();
        let admin =
            Admin { scrape, core: Arc::default(), tls: Arc::default(), issuers: Issuers::default(), stop: stopped };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let serving = tokio::spawn(admin.serve(listener));
        stream
            .write_all(
                format!("{request} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn a_service_that_starts_or_stops_lives_and_is_not_ready() {
        assert!(get("GET /livez", false).await.starts_with("HTTP/1.1 200 OK"));
        let starting = get("GET /readyz", false).await;
        assert!(starting.starts_with("HTTP/1.1 503") && starting.ends_with("not ready: the service is starting\n"));
        let stopping = get("GET /readyz", true).await;
        assert!(stopping.starts_with("HTTP/1.1 503") && stopping.ends_with("not ready: the service is stopping\n"));
    }

    #[tokio::test]
    async fn nothing_else_is_answered() {
        assert!(get("GET /", false).await.starts_with("HTTP/1.1 404"));
        assert!(get("POST /metrics", false).await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn metrics_come_as_they_are_asked_for() {
        assert!(get("GET /metrics", false).await.contains("text/plain; version=0.0.4"));
        let openmetrics = get_as("GET /metrics", "application/openmetrics-text;version=1.0.0,*/*;q=0.1", false).await;
        assert!(openmetrics.contains("application/openmetrics-text; version=1.0.0"), "{openmetrics}");
        assert!(openmetrics.ends_with("# EOF\n"), "{openmetrics}");
    }
}

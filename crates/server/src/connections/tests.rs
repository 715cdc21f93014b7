//! Real connections over real TLS, with a service that answers when it is told to.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its ground is to stop")]

use super::*;
use crate::config::{ClientAuth, IdentityKind};
use crate::metrics::tests::metrics;
use crate::metrics::{Format, Scrape};
use crate::test_authority::{TestAuthority, client, listener, uri};
use crate::tls::Reloader;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use std::num::NonZeroUsize;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, async_trait};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Answers `now` at once, and anything else when it is let go.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<Notify>,
    go: Arc<Notify>,
}

#[async_trait]
impl Health for Slow {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        assert!(request.extensions().get::<Arc<Peer>>().is_some(), "the peer is known to every call");
        if let Some(peer) = request.extensions().get::<Arc<Peer>>()
            && request.get_ref().service == "registered"
        {
            // What the layer does that finds out who calls.
            peer.has_caller();
            return Ok(tonic::Response::new(HealthCheckResponse { status: 1 }));
        }
        if request.into_inner().service != "now" {
            self.begun.notify_one();
            self.go.notified().await;
        }
        Ok(tonic::Response::new(HealthCheckResponse { status: 1 }))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

struct Ground {
    authority: TestAuthority,
    address: SocketAddr,
    slow: Slow,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<usize>,
    scrape: Scrape,
    _provider: SdkMeterProvider,
    _folder: tempfile::TempDir,
}

impl Ground {
    async fn new(adjust: impl FnOnce(&mut crate::config::Listener)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("one");
        let mut settings = listener(folder.path(), &authority.server(), &[(&authority, IdentityKind::Spiffe)]);
        adjust(&mut settings);
        let (_, tls) = Reloader::start(settings.clone()).unwrap();
        let (metrics, scrape, provider) = metrics();
        let slow = Slow::default();
        let service = tonic::service::Routes::new(HealthServer::new(slow.clone())).prepare();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let connections = Connections { tls, limits: settings.limits, metrics, service };
        let served = tokio::spawn(connections.serve(socket, stopped));
        Self { authority, address, slow, stop, served, scrape, _provider: provider, _folder: folder }
    }

    fn endpoint(&self, tls: ClientTlsConfig) -> Endpoint {
        let tls = tls.ca_certificate(Certificate::from_pem(self.authority.certificate.pem())).domain_name("localhost");
        Endpoint::from_shared(format!("https://{}", self.address)).unwrap().tls_config(tls).unwrap()
    }

    async fn caller(&self) -> HealthClient<Channel> {
        let issued = self.authority.issue(&client(&[uri("spiffe://chancery.dev/checkout")]));
        let identity = Identity::from_pem(issued.certificate.pem(), issued.key.serialize_pem());
        HealthClient::new(self.endpoint(ClientTlsConfig::new().identity(identity)).connect().await.unwrap())
    }

    fn metric(&self, prefix: &str) -> Option<String> {
        let shown = self.scrape.page(Format::Text).unwrap();
        shown.lines().find(|line| line.starts_with(prefix)).map(str::to_owned)
    }
}

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn a_call_with_a_trusted_certificate_is_answered() {
    let ground = Ground::new(|_| {}).await;
    assert_eq!(ground.caller().await.check(ask("now")).await.unwrap().into_inner().status, 1);
    assert!(ground.metric("chancery_connections ").unwrap().ends_with(" 1"));
}

#[tokio::test]
async fn without_a_client_certificate_nothing_is_answered() {
    let ground = Ground::new(|_| {}).await;
    // In TLS 1.3 a client learns of the refusal with its first call.
    let answer = match ground.endpoint(ClientTlsConfig::new()).connect().await {
        Ok(channel) => HealthClient::new(channel).check(ask("now")).await.map(drop).map_err(|status| status.code()),
        Err(_refused) => Err(Code::Unavailable),
    };
    assert!(matches!(answer, Err(Code::Unavailable | Code::Unknown)), "{answer:?}");
    while ground.metric("chancery_connections_refused_total").is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = ground.metric("chancery_connections_refused_total").unwrap();
    assert!(refused.contains(r#"chancery_reason="tls""#), "{refused}");
}

#[tokio::test]
async fn where_client_certificates_are_optional_a_call_without_one_arrives() {
    let ground = Ground::new(|listener| listener.client_auth = ClientAuth::Optional).await;
    let channel = ground.endpoint(ClientTlsConfig::new()).connect().await.unwrap();
    assert!(HealthClient::new(channel).check(ask("now")).await.is_ok());
}

#[tokio::test]
async fn a_call_under_way_is_answered_before_the_service_stops() {
    let ground = Ground::new(|_| {}).await;
    let mut caller = ground.caller().await;
    let call = tokio::spawn(async move { caller.check(ask("later")).await });
    ground.slow.begun.notified().await;
    ground.stop.send_replace(true);
    // The port is closed at once.
    while TcpStream::connect(ground.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!ground.served.is_finished(), "it waits for the call");
    ground.slow.go.notify_one();
    assert_eq!(call.await.unwrap().unwrap().into_inner().status, 1);
    assert_eq!(timeout(Duration::from_secs(60), ground.served).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_off_after_the_grace_period() {
    let ground = Ground::new(|listener| listener.limits.shutdown_grace = Duration::from_millis(100)).await;
    let mut caller = ground.caller().await;
    let call = tokio::spawn(async move { caller.check(ask("never")).await });
    ground.slow.begun.notified().await;
    ground.stop.send_replace(true);
    assert_eq!(timeout(Duration::from_secs(60), ground.served).await.unwrap().unwrap(), 1);
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up() {
    let ground = Ground::new(|listener| listener.limits.handshake_timeout = Duration::from_millis(100)).await;
    let mut silent = TcpStream::connect(ground.address).await.unwrap();
    let begun = Instant::now();
    let read = timeout(Duration::from_secs(60), silent.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "the connection was closed: {read:?}");
    assert!(begun.elapsed() >= Duration::from_millis(90));
    let refused = ground.metric("chancery_connections_refused_total").unwrap();
    assert!(refused.contains(r#"chancery_reason="handshake_timeout""#), "{refused}");
}

#[tokio::test]
async fn above_the_limit_connections_wait_for_one_to_end() {
    let ground = Ground::new(|listener| listener.limits.max_connections = NonZeroUsize::MIN).await;
    let first = ground.caller().await;
    let second = timeout(Duration::from_millis(200), ground.caller()).await;
    assert!(second.is_err(), "the only slot is taken");
    drop(first);
    let mut third = timeout(Duration::from_secs(10), ground.caller()).await.unwrap();
    assert!(third.check(ask("now")).await.is_ok());
}

#[tokio::test]
async fn an_old_connection_is_replaced_without_losing_a_call() {
    let ground = Ground::new(|listener| listener.limits.max_connection_age = Some(Duration::from_millis(50))).await;
    let mut caller = ground.caller().await;
    let mut same = caller.clone();
    let call = tokio::spawn(async move { same.check(ask("later")).await });
    ground.slow.begun.notified().await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    ground.slow.go.notify_one();
    assert!(call.await.unwrap().is_ok(), "the call outlived the connection's age");
    assert!(caller.check(ask("now")).await.is_ok(), "the next one finds a new connection");
}

/// A connection that agreed on HTTP/1.1, after a first answer.
async fn http1(ground: &Ground) -> tokio_rustls::client::TlsStream<TcpStream> {
    let issued = ground.authority.issue(&client(&[uri("spiffe://chancery.dev/checkout")]));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ground.authority.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.key.serialize_der()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![issued.certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(ground.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Until it is closed by the other end.
async fn closed(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let _read = timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("it is closed");
}

#[tokio::test]
async fn an_idle_connection_of_http_1_1_leaves_when_the_service_stops_or_it_is_old() {
    let ground = Ground::new(|_| {}).await;
    let mut idle = http1(&ground).await;
    let begun = Instant::now();
    ground.stop.send_replace(true);
    closed(&mut idle).await;
    assert_eq!(timeout(Duration::from_secs(60), ground.served).await.unwrap().unwrap(), 0);
    assert!(begun.elapsed() >= FAREWELL_PATIENCE, "it might have sent something, and was listened to");
    drop(idle);

    // Without an age of its own it is as old as the longest call may get.
    let old = Ground::new(|listener| listener.limits.max_deadline = Duration::from_secs(2)).await;
    let begun = Instant::now();
    closed(&mut http1(&old).await).await;
    assert!(begun.elapsed() < Duration::from_secs(30) && begun.elapsed() >= Duration::from_millis(1_900));
}

/// What the client sends behind its last request is not read by whoever answers that, and the answer is on its way when he is done.
#[tokio::test]
async fn what_was_answered_last_arrives_though_the_client_goes_on_sending() {
    const ANSWER: usize = 96 * 1024;
    let listening = tokio::net::TcpSocket::new_v4().unwrap();
    // Connections inherit it: all of the answer finds room.
    listening.set_send_buffer_size(256 * 1024).unwrap();
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listening = listening.listen(1).unwrap();
    let connecting = tokio::net::TcpSocket::new_v4().unwrap();
    // It takes a part of the answer only, until it is read.
    connecting.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = connecting.connect(listening.local_addr().unwrap()).await.unwrap();
    let (server, _) = listening.accept().await.unwrap();
    client.write_all(&[1; 8 * 1024]).await.unwrap();
    server.readable().await.unwrap();
    let (mut lent, returned) = lend(server);
    lent.write_all(&[2; ANSWER]).await.unwrap();
    lent.shutdown().await.unwrap();
    drop(lent);

    let farewell = farewell(returned.await.unwrap(), FAREWELL_BYTES);
    let (mut read, mut sent) = client.split();
    let mut answer = Vec::new();
    let all = async {
        sent.write_all(&[1; 8 * 1024]).await.unwrap();
        let all = read.read_to_end(&mut answer).await;
        sent.shutdown().await.unwrap();
        all
    };
    let (all, ()) = tokio::join!(all, farewell);
    assert_eq!(all.unwrap(), ANSWER);
    assert!(answer.iter().all(|byte| *byte == 2));
}

/// Strangers who say nothing, from an address.
async fn strangers(ground: &Ground, from: &str, count: usize) -> Vec<TcpStream> {
    let mut strangers = Vec::new();
    for _ in 0..count {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        strangers.push(socket.connect(ground.address).await.unwrap());
    }
    strangers
}

async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    matches!(timeout(within, stream.read(&mut [0; 16])).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn who_never_finishes_a_handshake_takes_no_connection_from_who_has() {
    let ground = Ground::new(|listener| {
        listener.limits.max_connections = NonZeroUsize::new(8).unwrap();
        listener.limits.max_handshakes = NonZeroUsize::new(4).unwrap();
        listener.limits.handshake_timeout = Duration::from_secs(3);
    })
    .await;
    let mut caller = ground.caller().await;
    // Twice as many as there are connections, from two addresses and again and again: each wave is gone after the handshake's
    // time, and a caller waits for his turn and not for their end.
    let mut waves = Vec::new();
    for wave in 0..4 {
        waves.extend(strangers(&ground, &format!("127.0.0.{}", 2 + wave % 2), 4).await);
    }
    assert!(caller.check(ask("now")).await.is_ok(), "who is there stays");
    let mut another = timeout(Duration::from_secs(60), ground.caller()).await.unwrap();
    assert!(another.check(ask("now")).await.is_ok());
    for stranger in &mut waves {
        assert!(is_closed(stranger, Duration::from_secs(60)).await);
    }
}

/// From many addresses, so that no share is used up: silence is not waited for as long as others wait.
#[tokio::test]
async fn where_all_handshakes_places_are_taken_silence_is_not_waited_for() {
    let four_places = |listener: &mut crate::config::Listener| {
        listener.limits.max_handshakes = NonZeroUsize::new(4).unwrap();
        listener.limits.handshake_timeout = Duration::from_secs(600);
    };
    let ground = Ground::new(four_places).await;
    let mut silent = Vec::new();
    for address in 2..6 {
        silent.extend(strangers(&ground, &format!("127.0.0.{address}"), 1).await);
    }
    let mut caller = timeout(Duration::from_secs(60), ground.caller()).await.unwrap();
    assert!(caller.check(ask("now")).await.is_ok());
    let crowded = ground.metric(r#"chancery_connections_refused_total{chancery_reason="handshake_crowded"}"#).unwrap();
    assert!(!crowded.ends_with(" 0"), "{crowded}");

    // Where there is room, it is.
    let roomy = Ground::new(four_places).await;
    let mut patient = strangers(&roomy, "127.0.0.2", 3).await;
    assert!(!is_closed(&mut patient[0], Duration::from_secs(3)).await);
    drop(silent);
}

#[tokio::test]
async fn an_address_has_its_share_of_the_handshakes() {
    let ground = Ground::new(|listener| {
        listener.limits.max_handshakes = NonZeroUsize::new(4).unwrap();
        listener.limits.max_handshakes_per_address = NonZeroUsize::new(2).unwrap();
        listener.limits.handshake_timeout = Duration::from_secs(60);
    })
    .await;
    let mut waiting = strangers(&ground, "127.0.0.2", 5).await;
    for stranger in &mut waiting[2..] {
        assert!(is_closed(stranger, Duration::from_secs(10)).await, "above its share it is closed at once");
    }
    let mut caller = timeout(Duration::from_secs(10), ground.caller()).await.unwrap();
    assert!(caller.check(ask("now")).await.is_ok(), "another address has its own");
    let refused = ground.metric(r#"chancery_connections_refused_total{chancery_reason="address_handshakes"}"#);
    assert!(refused.unwrap().ends_with(" 3"));
    drop(waiting);
}

#[tokio::test]
async fn a_handshake_that_is_done_is_none_any_more() {
    let ground = Ground::new(|listener| {
        listener.limits.max_handshakes = NonZeroUsize::MIN;
        listener.limits.max_handshakes_per_address = NonZeroUsize::MIN;
    })
    .await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(timeout(Duration::from_secs(10), ground.caller()).await.unwrap());
    }
    for caller in &mut callers {
        assert!(caller.check(ask("now")).await.is_ok());
    }
}

#[tokio::test]
async fn a_connection_that_nobody_registered_uses_is_closed_whatever_is_open_on_it() {
    let ground = Ground::new(|listener| {
        listener.limits.unused_timeout = Duration::from_secs(2);
        listener.limits.keepalive_timeout = Duration::from_secs(2);
    })
    .await;
    let mut registered = ground.caller().await;
    assert!(registered.check(ask("registered")).await.is_ok());
    let mut long = registered.clone();
    let long = tokio::spawn(async move { long.check(ask("later")).await });
    ground.slow.begun.notified().await;
    let mut stranger = ground.caller().await;
    assert!(timeout(Duration::from_secs(20), stranger.check(ask("never"))).await.unwrap().is_err(), "it is closed");
    while ground.metric(r#"chancery_connections_refused_total{chancery_reason="unused"}"#).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!long.is_finished(), "who is registered is left alone");
    ground.slow.go.notify_waiters();
    assert!(long.await.unwrap().is_ok());
    assert!(registered.check(ask("registered")).await.is_ok());
}

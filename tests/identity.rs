//! Who gets in: certificates of every bad kind reach no handler, and what is checked at the handshake is checked again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery_api::v1;
use chancery_client::{Client, ClientError, ConnectOptions};
use chancery_testkit::{Authority, CallerSetup, Chancery, IdentityFiles, Leaf, signal};
use chancery_tests::contract::eventually;
use chancery_tests::load::{PATIENCE, Record, create_key, details, metric, sign, until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, Stream, SupportedProtocolVersion};
use tonic::Code;

const CALLER: &str = "spiffe://chancery.dev/caller";

/// Connects with a certificate and signs.
async fn sign_with(chancery: &Chancery, identity: &IdentityFiles, key: &str) -> Result<(), ClientError> {
    let client = Client::connect(chancery.connect_options(identity)).await?;
    sign(&client, key, "let me in").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_good_end_in_the_handshake() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let caller = || Leaf::spiffe(CALLER);
    let unknown = Authority::unknown().unwrap().issue(caller(), &chancery.identities_made(), "wrong-ca").unwrap();
    for (why, identity, alert) in [
        ("missing", None, "CertificateRequired"),
        ("expired", Some(chancery.issue(caller().expired(), "expired").unwrap()), "CertificateExpired"),
        ("not yet valid", Some(chancery.issue(caller().not_yet_valid(), "early").unwrap()), "CertificateExpired"),
        ("of another authority", Some(unknown), "UnknownCA"),
        ("for servers", Some(chancery.issue(caller().for_servers(), "server").unwrap()), "UnsupportedCertificate"),
    ] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let config = Arc::new(client_config(&chancery, identity.as_ref(), version));
            let refused = shake_hands(&chancery, &mut client_connection(&config)).unwrap_err();
            let expected = format!("received fatal alert: {alert}");
            assert_eq!(refused.to_string(), expected, "a certificate that is {why}, {version:?}");
        }
        let Some(identity) = identity else { continue };
        let refused = sign_with(&chancery, &identity, &key).await.unwrap_err();
        assert!(matches!(refused, ClientError::Connection { .. }), "a certificate that is {why}: {refused:?}");
    }

    let refused = || metric(chancery.admin_endpoint().unwrap(), "chancery_connections_refused", r#"reason="tls""#);
    until("each refused connection is counted", async || (refused() >= 14.0).then_some(())).await;
    let record = Record::read(&operator).await;
    assert_eq!(record.intents().count(), 0);
    // The same certificate in order opens the door: it was not shut for another reason.
    sign_with(&chancery, &chancery.issue(caller(), "good").unwrap(), &key).await.unwrap();
    assert_eq!(Record::read(&operator).await.intents().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_name_no_caller_reach_no_handler() {
    let chancery = Chancery::setup().with(CallerSetup::new("other")).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let cases = [
        ("two-uris", Leaf::spiffe(CALLER).uri("spiffe://chancery.dev/other"), "certificate_with_several_identities"),
        // The common name is the file's: a registered caller's id, which means nothing.
        ("caller", Leaf::nameless(), "certificate_without_identity"),
        ("dns", Leaf::nameless().dns("caller"), "certificate_without_identity"),
        ("no-spiffe", Leaf::nameless().uri("https://chancery.dev/caller"), "certificate_identity_malformed"),
        ("nobody", Leaf::spiffe("spiffe://chancery.dev/nobody"), "caller_not_registered"),
        ("longer", Leaf::spiffe("spiffe://chancery.dev/caller/2"), "caller_not_registered"),
        ("foreign", Leaf::spiffe("spiffe://example.org/caller"), "caller_not_registered"),
    ];
    let mut expected = Vec::new();
    for (name, leaf, reason) in cases {
        let identity = chancery.issue(leaf, name).unwrap();
        let refused = sign_with(&chancery, &identity, &key).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Unauthenticated), "{name}: {refused:?}");
        assert_eq!(refused.reason(), Some(reason.to_ascii_uppercase().as_str()), "{name}");
        expected.push(reason);
    }
    expected.sort_unstable();
    expected.dedup();
    // Those of strangers are one record for each reason: the reasons count, not the records.
    let record = Record::read_until(&operator, "each reason is on the record", |record| {
        expected.iter().all(|reason| record.of(v1::RecordKind::Denial).any(|denial| says(denial, reason)))
    })
    .await;
    assert_eq!(record.intents().count(), 0);
    let denials = record.of(v1::RecordKind::Denial);
    assert!(denials.into_iter().all(|denial| denial.caller.is_empty() && denial.action.is_empty()));
    let identity = chancery.issue(Leaf::spiffe(CALLER).dns("beside.example"), "good").unwrap();
    sign_with(&chancery, &identity, &key).await.unwrap();
}

fn says(denial: &v1::AuditRecord, reason: &str) -> bool {
    details(denial)["message"] == reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_on_an_open_connection_is_refused_on_the_next_call() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    // X.509 counts in seconds: this one has 3 to 4 left. On a busy machine the first call may come after them; then it is the
    // turn of one with more.
    let now = time::OffsetDateTime::now_utc;
    let mut life = time::Duration::seconds(4);
    let (client, after) = loop {
        let after = now() + life;
        let leaf = Leaf::spiffe(CALLER).valid(now() - time::Duration::hours(1), after);
        let identity = chancery.issue(leaf, &format!("short-{}", life.whole_seconds())).unwrap();
        let first = async {
            let client = Client::connect(chancery.connect_options(&identity)).await?;
            sign(&client, &key, "in time").await?;
            Ok::<_, ClientError>(client)
        };
        match first.await {
            Ok(client) => break (client, after),
            Err(refused) => {
                let over = now() >= after - time::Duration::seconds(1);
                assert!(over && life <= time::Duration::seconds(12), "refused before its time: {refused:?}");
            }
        }
        life *= 3;
    };
    let refused = eventually("the certificate expires", async || sign(&client, &key, "too late").await.err()).await;
    // An answer, not a failed handshake: the connection is still the one from before.
    assert_eq!((refused.code(), refused.reason()), (Some(Code::Unauthenticated), Some("CERTIFICATE_EXPIRED")));
    assert!(now() >= after - time::Duration::seconds(1), "refused before its time");
    Record::read_until(&operator, "the refusal is on the record", |record| {
        record.of(v1::RecordKind::Denial).any(|denial| says(denial, "certificate_expired"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_is_refused() {
    let chancery = Chancery::start().await.unwrap();
    let mut stream = tcp(&chancery);
    // The beginning of every HTTP/2 connection, and an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    // The server hangs up; whether with a reset is up to the kernel.
    let _ended = stream.read_to_end(&mut answer);
    // At most a TLS alert (record type 21); no HTTP/2.
    assert!(answer.first().is_none_or(|first| *first == 21) && answer.len() < 16, "{answer:?}");
    let plain = chancery.endpoint().replace("https://", "http://");
    let channel = tonic::transport::Endpoint::from_shared(plain).unwrap().connect_lazy();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tls_session_is_resumed() {
    let chancery = Chancery::start().await.unwrap();
    let identity = chancery.issue(Leaf::spiffe(CALLER), "resuming").unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        // One configuration, and in it one cache: the second connection would resume if it could.
        let config = Arc::new(client_config(&chancery, Some(&identity), version));
        for _ in 0..2 {
            let mut connection = client_connection(&config);
            shake_hands(&chancery, &mut connection).unwrap();
            assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
            assert_eq!(connection.tls13_tickets_received(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_certificate_is_replaced_without_a_restart() {
    let chancery = Chancery::start().await.unwrap();
    let before = chancery.operator().await.unwrap();
    let key = create_key(&before, "k").await;
    let caller = chancery.caller().await.unwrap();
    let identity = chancery.issue(Leaf::spiffe(CALLER), "reloading").unwrap();
    let named =
        |name: &str| ConnectOptions { server_name: Some(name.to_owned()), ..chancery.connect_options(&identity) };
    Client::connect(named("new.chancery.dev")).await.unwrap_err();

    let tls = chancery.dir().join("tls");
    let new = chancery.issue(Leaf::nameless().for_servers().dns("new.chancery.dev"), "new-server").unwrap();
    replace(&tls.join("server.key"), &std::fs::read(new.private_key).unwrap());
    replace(&tls.join("server.pem"), &std::fs::read(new.certificate).unwrap());
    // Nobody tells the service; it sees the files change.
    until("new connections see the new certificate", async || Client::connect(named("new.chancery.dev")).await.ok())
        .await;
    sign(&caller, &key, "on the old connection").await.unwrap();

    let failed = || metric(chancery.admin_endpoint().unwrap(), "chancery_tls_reloads", r#"result="failed""#);
    let failed_before = failed();
    replace(&tls.join("server.pem"), b"-----BEGIN CERTIFICATE-----\nbroken\n");
    signal(chancery.pid(), "HUP").unwrap();
    until("the broken file is read", async || (failed() > failed_before).then_some(())).await;
    let client = Client::connect(named("new.chancery.dev")).await.unwrap();
    sign(&client, &key, "by the certificate before the broken one").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorities_are_replaced_without_a_restart() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let ca = chancery.dir().join("tls/ca.pem");
    let old = std::fs::read_to_string(&ca).unwrap();
    // Clients check the service by this file, which stays.
    let kept = chancery.identities_made().join("ca-before.pem");
    std::fs::write(&kept, &old).unwrap();
    let authority = Authority::unknown().unwrap();
    let old_identity = chancery.issue(Leaf::spiffe(CALLER), "old").unwrap();
    let new_identity = authority.issue(Leaf::spiffe(CALLER), &chancery.identities_made(), "new").unwrap();
    let connect = async |identity: &IdentityFiles| {
        let client = Client::connect(ConnectOptions { ca: kept.clone(), ..chancery.connect_options(identity) }).await?;
        sign(&client, &key, "which authority").await?;
        Ok::<_, ClientError>(client)
    };
    let old_client = connect(&old_identity).await.unwrap();
    assert!(matches!(connect(&new_identity).await, Err(ClientError::Connection { .. })));

    replace(&ca, format!("{old}{}", authority.certificate()).as_bytes());
    signal(chancery.pid(), "HUP").unwrap();
    let new_client = until("the added authority is trusted", async || connect(&new_identity).await.ok()).await;
    sign(&old_client, &key, "both are trusted").await.unwrap();

    replace(&ca, authority.certificate().as_bytes());
    signal(chancery.pid(), "HUP").unwrap();
    let refused = until("the old authority is no longer trusted", async || {
        sign(&old_client, &key, "on an open connection").await.err()
    })
    .await;
    assert_eq!(refused.reason(), Some("CERTIFICATE_AUTHORITY_NOT_TRUSTED"), "{refused:?}");
    assert!(matches!(connect(&old_identity).await, Err(ClientError::Connection { .. })));
    sign(&new_client, &key, "the new one is").await.unwrap();
}

/// Replaces a file at once, as a certificate manager does.
fn replace(path: &Path, content: &[u8]) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, content).unwrap();
    let rights = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(&beside, rights).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// The folder for certificates that are not of the service's own authority.
trait Identities {
    fn identities_made(&self) -> PathBuf;
}

impl Identities for Chancery {
    fn identities_made(&self) -> PathBuf {
        let folder = self.identities();
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}

fn tcp(chancery: &Chancery) -> TcpStream {
    let stream = TcpStream::connect(chancery.endpoint().strip_prefix("https://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn client_config(
    chancery: &Chancery,
    identity: Option<&IdentityFiles>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(chancery.ca()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(IdentityFiles { certificate, private_key }) => {
            let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(private_key).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn client_connection(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap()
}

/// Handshake, and the beginning of what the server says. What it has to say of the client's certificate in TLS 1.3, and
/// its tickets, come after the handshake and before that. Nothing is sent: the server would hang up on what it did not
/// read, and its alert might be lost.
fn shake_hands(chancery: &Chancery, connection: &mut ClientConnection) -> std::io::Result<()> {
    let mut socket = tcp(chancery);
    let mut frame = [0; 9];
    Stream::new(connection, &mut socket).read_exact(&mut frame)?;
    assert_eq!(frame[3], 4, "SETTINGS comes first");
    Ok(())
}

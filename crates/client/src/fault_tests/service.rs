//! The service that fails as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use chancery_api::v1;
use chancery_model::{Curve, KeyVersionName};
use hyper_util::rt::TokioIo;
use k256::ecdsa::signature::Signer as _;
use k256::ecdsa::{Signature, SigningKey};
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::transport::{CurrentChannel, Opened};
use crate::{Client, Connection, RetryPolicy};

pub(super) const VERSION: &str = "keyRings/dev/keys/k/versions/1";

/// What becomes of a call.
pub(super) enum Plan {
    /// It fails.
    Fail(Status),
    /// It is never answered.
    Silence,
    /// It is answered.
    Answer,
    /// A watch: these records, and then the stream breaks (or ends, where there is no status).
    Watch(Vec<u64>, Option<Status>),
}

/// A call that arrived.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) at: Instant,
    pub(super) method: String,
    pub(super) timeout: Option<String>,
    /// What the message says that tests ask about: a request id, the number of items, a start index.
    pub(super) note: String,
}

pub(super) struct Faults {
    plans: Mutex<VecDeque<Plan>>,
    calls: Mutex<Vec<Call>>,
    /// How many connections are still to be refused.
    refuse: Mutex<usize>,
    /// Signs another message than was asked.
    lies: Mutex<bool>,
    key: SigningKey,
}

impl Faults {
    /// Plans for the calls to come, in their order; calls after them are answered.
    pub(super) fn new(plans: impl IntoIterator<Item = Plan>) -> Arc<Self> {
        Arc::new(Self {
            plans: Mutex::new(plans.into_iter().collect()),
            calls: Mutex::default(),
            refuse: Mutex::default(),
            lies: Mutex::default(),
            key: SigningKey::from_slice(&[7; 32]).unwrap(),
        })
    }

    pub(super) fn refuse_connections(&self, count: usize) {
        *self.refuse.lock().unwrap() = count;
    }

    pub(super) fn lie(&self) {
        *self.lies.lock().unwrap() = true;
    }

    pub(super) fn plan(&self, plans: impl IntoIterator<Item = Plan>) {
        self.plans.lock().unwrap().extend(plans);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn signing_key(&self) -> SigningKey {
        self.key.clone()
    }

    pub(super) fn spki(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        chancery_crypto::ec_spki(Curve::Secp256k1, point.as_bytes()).unwrap()
    }

    pub(super) fn public_key(&self) -> (KeyVersionName, chancery_crypto::PublicKey) {
        let algorithm = chancery_model::Algorithm::EcdsaSecp256k1Sha256;
        let key = chancery_crypto::PublicKey::from_spki_der(algorithm, &self.spki()).unwrap();
        (VERSION.parse().unwrap(), key)
    }

    /// A client whose calls take at most 10 seconds.
    pub(super) fn client(self: &Arc<Self>, retry: RetryPolicy) -> Client {
        let current = Arc::new(CurrentChannel::new(Opened { channel: self.channel(), signer: None }, None));
        let timeout = Duration::from_secs(10);
        Client::over(Connection::new(current, timeout), "https://faults", timeout, retry)
    }

    fn channel(self: &Arc<Self>) -> Channel {
        let (accept, accepted) = mpsc::unbounded_channel::<io::Result<DuplexStream>>();
        let server = Server::builder()
            .add_service(Signing(Arc::clone(self)))
            .add_service(Keys(Arc::clone(self)))
            .add_service(Audit(Arc::clone(self)));
        tokio::spawn(server.serve_with_incoming(UnboundedReceiverStream::new(accepted)));
        let faults = Arc::clone(self);
        let connector = service_fn(move |_uri: http::Uri| {
            let mut refuse = faults.refuse.lock().unwrap();
            let result = if *refuse > 0 {
                *refuse -= 1;
                Err(io::Error::from(io::ErrorKind::ConnectionRefused))
            } else {
                let (near, far) = tokio::io::duplex(64 * 1024);
                accept.send(Ok(far)).unwrap();
                Ok(TokioIo::new(near))
            };
            async move { result }
        });
        Endpoint::from_static("http://faults").connect_with_connector_lazy(connector)
    }

    fn arrived(&self, request: &http::Request<Body>) -> Plan {
        let timeout = request.headers().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        self.calls.lock().unwrap().push(Call { at: Instant::now(), method, timeout, note: String::new() });
        self.plans.lock().unwrap().pop_front().unwrap_or(Plan::Answer)
    }

    fn note(&self, index: usize, note: impl ToString) {
        self.calls.lock().unwrap()[index].note = note.to_string();
    }

    fn sign(&self, request: &v1::SignRequest) -> v1::SignResponse {
        let message = match request.input.as_ref().unwrap().input.as_ref().unwrap() {
            v1::sign_input::Input::Message(message) => message.to_vec(),
            v1::sign_input::Input::Digest(_) => unreachable!("no test signs a digest"),
        };
        let message = if *self.lies.lock().unwrap() { b"another".to_vec() } else { message };
        let (signature, recovery_id): (Signature, _) = self.key.sign_recoverable(&message);
        assert_eq!(self.key.try_sign(&message).ok(), Some(signature));
        let signature = match request.encoding() {
            v1::SignatureEncoding::P1363 => signature.to_bytes().to_vec(),
            _ => signature.to_der().as_bytes().to_vec(),
        };
        v1::SignResponse {
            name: VERSION.to_owned(),
            algorithm: v1::Algorithm::EcdsaSecp256k1Sha256.into(),
            signature_crc32c: crc32c::crc32c(&signature),
            signature,
            verified_input_crc32c: true,
            recovery_id: Some(recovery_id.to_byte().into()),
            record_index: 1,
            ..v1::SignResponse::default()
        }
    }

    async fn handle(self: Arc<Self>, request: http::Request<Body>) -> http::Response<Body> {
        let plan = self.arrived(&request);
        let index = self.calls.lock().unwrap().len() - 1;
        let plan = match plan {
            Plan::Fail(status) if request.uri().path().ends_with("/CreateKey") => Plan::Fail(status),
            Plan::Fail(status) => return status.into_http(),
            Plan::Silence => std::future::pending().await,
            other => other,
        };
        let this = Arc::clone(&self);
        match request.uri().path().rsplit('/').next().unwrap() {
            "Sign" => unary(request, move |ask: v1::SignRequest| Ok(this.sign(&ask))).await,
            "BatchSign" => {
                unary(request, move |ask: v1::BatchSignRequest| {
                    this.note(index, ask.requests.len());
                    let signed = |request| v1::batch_sign_result::Result::Response(this.sign(request));
                    let results =
                        ask.requests.iter().map(|request| v1::BatchSignResult { result: Some(signed(request)) });
                    Ok(v1::BatchSignResponse { results: results.collect() })
                })
                .await
            }
            "GetPublicKey" => {
                unary(request, move |ask: v1::GetPublicKeyRequest| {
                    let data = this.spki();
                    Ok(v1::PublicKey {
                        name: VERSION.to_owned(),
                        algorithm: v1::Algorithm::EcdsaSecp256k1Sha256.into(),
                        state: v1::KeyState::Active.into(),
                        format: ask.format,
                        data_crc32c: crc32c::crc32c(&data),
                        sha256: chancery_crypto::sha256(&data).to_vec(),
                        data,
                    })
                })
                .await
            }
            "CreateKey" => {
                unary(request, move |ask: v1::CreateKeyRequest| {
                    this.note(index, &ask.request_id);
                    let at = Some(prost_types::Timestamp::default());
                    match plan {
                        Plan::Fail(ref status) => Err(status.clone()),
                        _ => Ok(v1::Key {
                            name: format!("{}/keys/{}", ask.parent, ask.key_id),
                            create_time: at,
                            update_time: at,
                            ..ask.key.unwrap()
                        }),
                    }
                })
                .await
            }
            "StreamSign" => {
                let sign = service_fn(move |incoming: Request<Streaming<v1::StreamSignRequest>>| {
                    let answers = this.clone().answer_stream(incoming.into_inner());
                    async move { Ok::<_, Status>(Response::new(answers)) }
                });
                Grpc::new(ProstCodec::default()).streaming(sign, request).await
            }
            "WatchRecords" => {
                let watch = service_fn(move |ask: Request<v1::WatchRecordsRequest>| {
                    this.note(index, format!("{:?}", ask.get_ref().start_index));
                    let start = ask.get_ref().start_index.unwrap_or_default();
                    let (records, end) = match &plan {
                        Plan::Watch(records, end) => (records.clone(), end.clone()),
                        _ => (Vec::new(), None),
                    };
                    let answers = watched(start, &records, end);
                    async move { Ok::<_, Status>(Response::new(answers)) }
                });
                Grpc::new(ProstCodec::default()).server_streaming(watch, request).await
            }
            other => Status::unimplemented(other).into_http(),
        }
    }

    fn answer_stream(
        self: Arc<Self>,
        mut incoming: Streaming<v1::StreamSignRequest>,
    ) -> Pin<Box<dyn Stream<Item = Result<v1::StreamSignResponse, Status>> + Send>> {
        let (answer, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(v1::StreamSignRequest { correlation_id, request })) = incoming.message().await {
                use v1::stream_sign_response::Result as Item;
                let result = match correlation_id.as_str() {
                    "break" => {
                        let _ = answer.send(Err(Status::unavailable("broken"))).await;
                        return;
                    }
                    "denied" => Item::Error(v1::ItemStatus { code: 7, message: "no".to_owned(), details: vec![] }),
                    _ => Item::Response(self.sign(&request.unwrap())),
                };
                let message = v1::StreamSignResponse { correlation_id, result: Some(result) };
                if answer.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        Box::pin(ReceiverStream::new(answers))
    }
}

/// Progress, then the records, then the end; a watch that is to be left open never ends.
fn watched(
    start: u64,
    records: &[u64],
    end: Option<Status>,
) -> Pin<Box<dyn Stream<Item = Result<v1::WatchRecordsResponse, Status>> + Send>> {
    let record = |index: u64| v1::WatchRecordsResponse {
        record: Some(v1::AuditRecord {
            index,
            kind: v1::RecordKind::Intent.into(),
            time: Some(prost_types::Timestamp::default()),
            ..v1::AuditRecord::default()
        }),
        next_index: index + 1,
    };
    let mut answers = vec![Ok(v1::WatchRecordsResponse { record: None, next_index: start })];
    answers.extend(records.iter().map(|index| Ok(record(*index))));
    match end {
        Some(status) => {
            answers.push(Err(status));
            Box::pin(tokio_stream::iter(answers))
        }
        None => Box::pin(tokio_stream::iter(answers).chain(tokio_stream::pending())),
    }
}

async fn unary<Q, A>(
    request: http::Request<Body>,
    answer: impl Fn(Q) -> Result<A, Status> + Send + 'static,
) -> http::Response<Body>
where
    Q: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    let service = service_fn(move |request: Request<Q>| {
        let result = answer(request.into_inner()).map(Response::new);
        async move { result }
    });
    Grpc::new(ProstCodec::default()).unary(service, request).await
}

macro_rules! served {
    ($($service:ident: $name:literal),*) => {$(
        #[derive(Clone)]
        struct $service(Arc<Faults>);

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl Service<http::Request<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

            fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                let faults = Arc::clone(&self.0);
                Box::pin(async move { Ok(faults.handle(request).await) })
            }
        }
    )*};
}

served!(
    Signing: "chancery.v1.SigningService",
    Keys: "chancery.v1.KeyService",
    Audit: "chancery.v1.AuditService"
);

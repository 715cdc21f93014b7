//! Streams as a client sees them who holds them open: over a connection of its own, with small HTTP/2 windows and without
//! a deadline, so that what the service does by itself shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use chancery_api::v1;
use chancery_api::v1::audit_service_client::AuditServiceClient;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_client::Refusal;
use chancery_testkit::{Chancery, IdentityFiles, Leaf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};

use crate::load::PATIENCE;

/// HTTP/2's own initial window, in bytes: what a client takes ahead who reads nothing.
pub const WINDOW: u32 = 65_535;

/// A connection with this certificate.
pub async fn channel(chancery: &Chancery, identity: &IdentityFiles) -> Channel {
    let read = |path: &std::path::Path| std::fs::read(path).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(chancery.ca())))
        .identity(Identity::from_pem(read(&identity.certificate), read(&identity.private_key)));
    let endpoint = Endpoint::from_shared(chancery.endpoint().to_owned()).unwrap();
    let windows = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    windows.tls_config(tls).unwrap().connect().await.unwrap()
}

/// A connection as one of the two callers that `chancery dev` makes, or one of the set-up.
pub async fn channel_as(chancery: &Chancery, caller: &str) -> Channel {
    let leaf = Leaf::spiffe(&format!("spiffe://chancery.dev/{caller}"));
    channel(chancery, &chancery.issue(leaf, &format!("{caller}-stream")).unwrap()).await
}

/// An open StreamSign.
#[derive(Debug)]
pub struct SignStream {
    /// Where messages go; dropped, the stream is half-closed.
    pub messages: mpsc::Sender<v1::StreamSignRequest>,
    /// Where answers come from.
    pub answers: Streaming<v1::StreamSignResponse>,
}

/// What a message was answered.
#[derive(Debug)]
pub enum Answer {
    /// A signature.
    Signed(v1::SignResponse),
    /// An item's error.
    Refused(Refusal),
}

impl Answer {
    /// The signature.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    #[allow(clippy::must_use_candidate, reason = "it checks, too")]
    pub fn signed(self) -> v1::SignResponse {
        match self {
            Self::Signed(response) => response,
            Self::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }

    /// The refusal's reason.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Signed(_) => None,
            Self::Refused(refusal) => refusal.reason.as_deref(),
        }
    }
}

impl SignStream {
    /// Opens one that has no deadline.
    pub async fn open(channel: &Channel) -> Self {
        Self::open_with(channel, None).await
    }

    /// Opens one.
    pub async fn open_with(channel: &Channel, timeout: Option<Duration>) -> Self {
        Self::try_open(channel, timeout).await.unwrap()
    }

    /// Opens one without a deadline, with this header.
    pub async fn open_with_authorization(channel: &Channel, authorization: &str) -> Self {
        Self::try_open_with_authorization(channel, authorization).await.unwrap()
    }

    /// The same, if it may.
    ///
    /// # Errors
    /// The status that it is refused with.
    ///
    /// # Panics
    /// Where it is no header.
    pub async fn try_open_with_authorization(channel: &Channel, authorization: &str) -> Result<Self, Status> {
        let (messages, waiting) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(waiting));
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        let answers = SigningServiceClient::new(channel.clone()).stream_sign(request).await?.into_inner();
        Ok(Self { messages, answers })
    }

    /// Opens one, if it may.
    ///
    /// # Errors
    /// The status that it is refused with.
    pub async fn try_open(channel: &Channel, timeout: Option<Duration>) -> Result<Self, Status> {
        let (messages, waiting) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(waiting));
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        let answers = SigningServiceClient::new(channel.clone()).stream_sign(request).await?.into_inner();
        Ok(Self { messages, answers })
    }

    /// Sends a message to sign. The service may have ended the stream by then, of its own accord: [`Self::next`] says how.
    pub async fn send(&self, id: &str, key: &str, message: &[u8]) {
        let _ended = self.messages.send(stream_request(id, key, message)).await;
    }

    /// The next answer and its correlation id, or how the stream ended.
    ///
    /// # Errors
    /// The status that the stream ended with.
    ///
    /// # Panics
    /// Where nothing came in [`PATIENCE`].
    pub async fn next(&mut self) -> Result<Option<(String, Answer)>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        Ok(next.expect("an answer or an end in time")?.map(answer))
    }

    /// Takes `count` answers, by their correlation ids.
    ///
    /// # Panics
    /// Where they do not come, or two have the same id.
    pub async fn take(&mut self, count: usize) -> BTreeMap<String, Answer> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            let (id, answer) = self.next().await.unwrap().expect("the stream goes on");
            assert!(answers.insert(id.clone(), answer).is_none(), "two answers to {id}");
        }
        answers
    }

    /// Signs one message, where none is under way.
    ///
    /// # Panics
    /// Where the answer is not this message's, or none comes.
    pub async fn sign(&mut self, id: &str, key: &str, message: &[u8]) -> Answer {
        self.send(id, key, message).await;
        let (answered, answer) = self.next().await.unwrap().expect("the stream goes on");
        assert_eq!(answered, id);
        answer
    }

    /// Half-closes it, and takes what is still to come, and how it ends.
    ///
    /// # Panics
    /// Where two answers have the same id.
    pub async fn finish(self) -> (BTreeMap<String, Answer>, Result<(), Status>) {
        let Self { messages, answers } = self;
        drop(messages);
        let mut rest = Self { messages: mpsc::channel(1).0, answers };
        let mut taken = BTreeMap::new();
        loop {
            match rest.next().await {
                Ok(Some((id, answer))) => assert!(taken.insert(id, answer).is_none()),
                Ok(None) => return (taken, Ok(())),
                Err(status) => return (taken, Err(status)),
            }
        }
    }
}

/// A message of a StreamSign.
#[must_use]
pub fn stream_request(id: &str, key: &str, message: &[u8]) -> v1::StreamSignRequest {
    let input = v1::sign_input::Input::Message(message.to_vec().into());
    let request = v1::SignRequest {
        name: key.to_owned(),
        input: Some(v1::SignInput { input: Some(input), crc32c: None }),
        encoding: v1::SignatureEncoding::P1363.into(),
        ..v1::SignRequest::default()
    };
    v1::StreamSignRequest { correlation_id: id.to_owned(), request: Some(request) }
}

/// An answer taken apart.
///
/// # Panics
/// Where it is none.
#[must_use]
pub fn answer(response: v1::StreamSignResponse) -> (String, Answer) {
    use v1::stream_sign_response::Result as Item;
    let answer = match response.result.expect("a signature or an error") {
        Item::Response(response) => Answer::Signed(response),
        Item::Error(error) => Answer::Refused(item_refusal(&error)),
    };
    (response.correlation_id, answer)
}

/// An item's error, as a call's would be.
#[must_use]
pub fn item_refusal(error: &v1::ItemStatus) -> Refusal {
    use prost::Message as _;
    // ItemStatus is google.rpc.Status on the wire, which is what a gRPC status carries as its details.
    let details = error.encode_to_vec().into();
    Refusal::from(Status::with_details(error.code.into(), error.message.clone(), details))
}

/// An open WatchRecords.
#[derive(Debug)]
pub struct Watch {
    answers: Streaming<v1::WatchRecordsResponse>,
}

impl Watch {
    /// Opens one that has no deadline.
    ///
    /// # Errors
    /// The status that it is refused with.
    pub async fn open(channel: &Channel, request: v1::WatchRecordsRequest) -> Result<Self, Status> {
        Ok(Self { answers: AuditServiceClient::new(channel.clone()).watch_records(request).await?.into_inner() })
    }

    /// The next answer, or how it ended.
    ///
    /// # Errors
    /// The status that the watch ended with.
    ///
    /// # Panics
    /// Where nothing came in [`PATIENCE`], or it ended without a status.
    pub async fn next(&mut self) -> Result<v1::WatchRecordsResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        Ok(next.expect("an answer or an end in time")?.expect("a watch has no end of its own"))
    }

    /// The next record, and from where to resume after it; progress is passed over.
    ///
    /// # Errors
    /// The status that the watch ended with.
    pub async fn record(&mut self) -> Result<(v1::AuditRecord, u64), Status> {
        loop {
            let v1::WatchRecordsResponse { record, next_index } = self.next().await?;
            if let Some(record) = record {
                return Ok((record, next_index));
            }
        }
    }
}

/// Memory of a process in bytes, from `/proc`: `VmHWM`, the most that it ever had, or `VmRSS`, what it has.
///
/// # Panics
/// Where there is no such process.
#[must_use]
pub fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

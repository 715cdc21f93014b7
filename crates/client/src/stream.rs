//! StreamSign: inputs as they arrive, signatures as they are ready.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use chancery_api::v1;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_api::v1::stream_sign_response::Result as ItemResult;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Streaming};

use crate::caller_signature::{RequestSigner, Vouchable as _};
use crate::retry::Repeat;
use crate::{Client, ClientError, SignItem, Signed, batch};

/// How many messages may be sent whose answers the caller has not taken: twice as many as the service works on at once, so
/// that it always finds the next ones. HTTP/2's own windows would let thousands of answers pile up before a sender feels it.
const WINDOW: usize = 128;
/// How many messages wait to be sent, and how many answers to be taken.
const WAITING: usize = 16;
/// Of a correlation id, in bytes.
const MAX_ID_LENGTH: usize = 64;

/// The sending half of a stream. Clones send on the same stream; it is half-closed when the last of them is dropped, and
/// then the answers end once everything was answered.
#[derive(Debug, Clone)]
pub struct SignSender {
    messages: mpsc::Sender<v1::StreamSignRequest>,
    unanswered: Unanswered,
    window: Arc<Semaphore>,
    client: Client,
    /// Signs requests on the stream's connection, where they are to be signed.
    signer: Option<Arc<RequestSigner>>,
}

/// The receiving half of a stream: a [`Stream`] of answers, as they are ready, in any order. Ends after the answer to the
/// last message, or with the error that broke the stream. Dropping it ends the stream.
#[derive(Debug)]
pub struct SignAnswers {
    answers: mpsc::Receiver<Result<SignAnswer, ClientError>>,
    unanswered: Unanswered,
    window: Arc<Semaphore>,
}

/// The answer to one message.
#[derive(Debug)]
pub struct SignAnswer {
    /// The message's correlation id.
    pub correlation_id: String,
    /// The signature, or why there is none. The stream goes on.
    pub result: Result<Signed, ClientError>,
}

/// What was sent and not answered yet, by correlation id.
#[derive(Debug, Clone, Default)]
struct Unanswered(Arc<Mutex<HashMap<String, Sent>>>);

/// What is to be known of a message when its answer comes.
#[derive(Debug)]
struct Sent {
    with_receipt: bool,
    /// Where signatures are verified on this side.
    request: Option<v1::SignRequest>,
}

impl Unanswered {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Sent>> {
        // What panicked elsewhere left a whole map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Opens a stream. Send and receive at the same time, from two tasks or with `select!`: with 128 messages sent whose
    /// answers nobody took, sending waits. (The service works on 64 messages of a stream at once.)
    ///
    /// The client's time bounds the opening only. A stream that breaks is not opened again by itself:
    /// [`SignAnswers::unanswered`] says what to send again on another, which is safe.
    ///
    /// # Errors
    /// As [`Client::sign`], where it cannot be opened.
    pub async fn stream_sign(&self) -> Result<(SignSender, SignAnswers), ClientError> {
        let (messages, incoming, signer) = self
            .open(Repeat::Safe, (), |connection, _nothing: Request<()>| async move {
                let (messages, outgoing) = mpsc::channel(WAITING);
                // What signs requests has to be of the connection that the stream stays on.
                let (connection, signer) = connection.with_signer();
                let opened = SigningServiceClient::new(connection).stream_sign(ReceiverStream::new(outgoing)).await?;
                Ok(Response::new((messages, opened.into_inner(), signer)))
            })
            .await?;
        let unanswered = Unanswered::default();
        let (answered, answers) = mpsc::channel(WAITING);
        let window = Arc::new(Semaphore::new(WINDOW));
        let receiver =
            Receiver { client: self.clone(), unanswered: unanswered.clone(), window: Arc::clone(&window), answered };
        // Not awaited: it ends by itself with the stream, or once the answers are dropped.
        tokio::spawn(receiver.run(incoming));
        let client = self.clone();
        let sender =
            SignSender { messages, unanswered: unanswered.clone(), window: Arc::clone(&window), client, signer };
        Ok((sender, SignAnswers { answers, unanswered, window }))
    }
}

impl SignSender {
    /// Sends an input; waits while the service is behind. `correlation_id` comes back with its answer: 1 to 64 bytes, and
    /// not that of another message that is still unanswered.
    ///
    /// # Errors
    /// [`ClientError::Request`] where the correlation id cannot be used, [`ClientError::StreamEnded`] where the stream has
    /// ended; the answers then say why.
    pub async fn send(&self, correlation_id: impl Into<String>, item: SignItem) -> Result<(), ClientError> {
        let correlation_id = correlation_id.into();
        if correlation_id.is_empty() || correlation_id.len() > MAX_ID_LENGTH {
            let what = format!("a correlation id has 1 to {MAX_ID_LENGTH} bytes, not {}", correlation_id.len());
            return Err(ClientError::Request { what });
        }
        let mut request = item.into_request();
        self.client.learn_hash(&request.name).await?;
        let in_window = self.window.acquire().await.map_err(|_closed| ClientError::StreamEnded)?;
        let place = self.messages.reserve().await.map_err(|_closed| ClientError::StreamEnded)?;
        if let (Some(signer), Some(evidence)) = (&self.signer, self.client.evidence()) {
            request.vouch(signer, evidence)?;
        }
        match self.unanswered.lock().entry(correlation_id.clone()) {
            Entry::Occupied(_) => {
                let what =
                    format!("the correlation id {correlation_id:?} is that of a message that is not answered yet");
                return Err(ClientError::Request { what });
            }
            Entry::Vacant(entry) => entry.insert(Sent {
                with_receipt: request.receipt,
                request: self.client.local().is_on().then(|| request.clone()),
            }),
        };
        place.send(v1::StreamSignRequest { correlation_id, request: Some(request) });
        // Given back when the answer is taken.
        in_window.forget();
        Ok(())
    }
}

impl SignAnswers {
    /// The next answer; `None` at the end of the stream. `Some(Err(..))` is the error that broke it.
    pub async fn next(&mut self) -> Option<Result<SignAnswer, ClientError>> {
        StreamExt::next(self).await
    }

    /// The correlation ids of what was sent and has no answer, in no order. After the stream broke: what to send again.
    #[must_use]
    pub fn unanswered(&self) -> Vec<String> {
        self.unanswered.lock().keys().cloned().collect()
    }
}

impl Stream for SignAnswers {
    type Item = Result<SignAnswer, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let answer = ready!(self.answers.poll_recv(context));
        if let Some(Ok(_)) = &answer {
            self.window.add_permits(1);
        }
        Poll::Ready(answer)
    }
}

/// Takes answers off the wire, checks them and hands them on.
struct Receiver {
    client: Client,
    unanswered: Unanswered,
    window: Arc<Semaphore>,
    answered: mpsc::Sender<Result<SignAnswer, ClientError>>,
}

impl Receiver {
    async fn run(self, incoming: Streaming<v1::StreamSignResponse>) {
        self.receive(incoming).await;
        // Whoever waits to send is told.
        self.window.close();
    }

    async fn receive(&self, mut incoming: Streaming<v1::StreamSignResponse>) {
        loop {
            let answer = tokio::select! {
                answer = incoming.message() => answer,
                () = self.answered.closed() => return,
            };
            let (answer, last) = match answer {
                Ok(None) => return,
                Ok(Some(answer)) => match self.take(answer).await {
                    Ok(answer) => (Ok(answer), false),
                    Err(error) => (Err(error), true),
                },
                Err(status) => (Err(self.client.error(status)), true),
            };
            if self.answered.send(answer).await.is_err() || last {
                return;
            }
        }
    }

    async fn take(&self, answer: v1::StreamSignResponse) -> Result<SignAnswer, ClientError> {
        let v1::StreamSignResponse { correlation_id, result } = answer;
        let Some(Sent { with_receipt, request }) = self.unanswered.lock().remove(&correlation_id) else {
            let what = format!("an answer to {correlation_id:?}, which was not asked, or was answered already");
            return Err(ClientError::Answer { what });
        };
        let result = match result {
            Some(ItemResult::Response(response)) => Signed::of(with_receipt, response),
            Some(ItemResult::Error(status)) => Err(ClientError::Refused(Box::new(status.into()))),
            None => Err(batch::no_result()),
        };
        let result = match (result, request) {
            (Ok(signed), Some(request)) => self.client.released(&request, signed).await,
            (result, _) => result,
        };
        Ok(SignAnswer { correlation_id, result })
    }
}

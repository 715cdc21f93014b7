//! WatchRecords: records as they become durable, through every interruption.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chancery_api::v1;
use chancery_api::v1::audit_service_client::AuditServiceClient;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Response, Status, Streaming};

use crate::retry::{Repeat, pushback};
use crate::{Client, ClientError, Record, RecordFilter};

/// How many records may wait for the caller; the service is held back beyond that.
const WAITING: usize = 64;

/// Which records are watched, and how patiently.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// From this index on, past records first: 0 for the whole record, or what [`RecordWatch::next_index`] said before.
    /// Only what is made from now on where absent.
    pub start_index: Option<u64>,
    /// Which.
    pub filter: RecordFilter,
    /// For how long the service may be away before the watch ends with an error; as long as it likes where absent.
    pub patience: Option<Duration>,
}

/// Records as they become durable, oldest first, without loss or duplicate: a [`Stream`] that connects again by itself and
/// resumes where it was. Ends with an error where the service refuses (for example because the caller may no longer read),
/// or is away for longer than [`WatchOptions::patience`]. Dropping it ends the watch.
#[derive(Debug)]
pub struct RecordWatch {
    answers: mpsc::Receiver<Result<Progress, ClientError>>,
    next_index: u64,
}

#[derive(Debug)]
struct Progress {
    record: Option<Record>,
    next_index: u64,
}

type Answers = Streaming<v1::WatchRecordsResponse>;

impl Client {
    /// Watches the record. Answers once the watch has begun: what becomes durable from then on is part of it.
    ///
    /// # Errors
    /// As [`Client::sign`], where it cannot begin.
    pub async fn watch_records(&self, options: WatchOptions) -> Result<RecordWatch, ClientError> {
        let WatchOptions { start_index, filter, patience } = options;
        let request = v1::WatchRecordsRequest {
            start_index,
            kind: filter.kind_to_proto(),
            caller: filter.caller_to_proto(),
            action: filter.action_to_proto(),
            resource: filter.resource.unwrap_or_default(),
        };
        let (answers, first) = self.open_watch(request.clone(), Repeat::Safe).await?;
        let next_index = first.next_index;
        let (sender, receiver) = mpsc::channel(WAITING);
        let watcher = Watcher {
            client: self.clone(),
            generation: self.connection().generation(),
            request,
            patience,
            next_index: 0,
            sender,
        };
        // Not awaited: it ends by itself once the watch is dropped.
        tokio::spawn(watcher.run(answers, first));
        // Where the first answer is a record, it is still to be handed out.
        Ok(RecordWatch { answers: receiver, next_index: start_index.unwrap_or(next_index) })
    }

    /// Opens the stream and takes its first answer, which says from where on it is complete.
    async fn open_watch(
        &self,
        request: v1::WatchRecordsRequest,
        repeat: Repeat,
    ) -> Result<(Answers, v1::WatchRecordsResponse), ClientError> {
        self.open(repeat, request, |connection, request| async move {
            let mut answers = AuditServiceClient::new(connection).watch_records(request).await?.into_inner();
            match answers.message().await? {
                Some(first) => Ok(Response::new((answers, first))),
                None => Err(Status::unavailable("the watch ended before it began")),
            }
        })
        .await
    }
}

impl RecordWatch {
    /// The next record; `None` after the error that ended the watch.
    pub async fn next(&mut self) -> Option<Result<Record, ClientError>> {
        StreamExt::next(self).await
    }

    /// The index from which to resume with [`WatchOptions::start_index`]: all records below it were handed out, or do not
    /// match.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.next_index
    }
}

impl Stream for RecordWatch {
    type Item = Result<Record, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.answers.poll_recv(context)) {
                Some(Ok(Progress { record, next_index })) => {
                    self.next_index = next_index;
                    if let Some(record) = record {
                        return Poll::Ready(Some(Ok(record)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Reads the stream, and opens another when it breaks.
struct Watcher {
    client: Client,
    /// Of the connection that the stream was opened on.
    generation: u64,
    request: v1::WatchRecordsRequest,
    patience: Option<Duration>,
    next_index: u64,
    sender: mpsc::Sender<Result<Progress, ClientError>>,
}

/// Why there is no more to do.
enum End {
    /// Nobody listens any more.
    Dropped,
    Failed(ClientError),
}

impl Watcher {
    async fn run(mut self, mut answers: Answers, mut first: v1::WatchRecordsResponse) {
        let end = loop {
            let broken = match self.read(answers, first).await {
                Ok(broken) => broken,
                Err(end) => break end,
            };
            match self.reopen(broken).await {
                Ok(opened) => (answers, first) = opened,
                Err(end) => break end,
            }
        };
        if let End::Failed(error) = end {
            // Nobody may be left to be told.
            let _ = self.sender.send(Err(error)).await;
        }
    }

    /// Hands on what comes until the stream breaks, and says why.
    async fn read(&mut self, mut answers: Answers, first: v1::WatchRecordsResponse) -> Result<ClientError, End> {
        let mut answer = first;
        loop {
            self.hand_on(answer).await?;
            let sender = self.sender.clone();
            let next = tokio::select! {
                next = answers.message() => next,
                () = sender.closed() => return Err(End::Dropped),
            };
            answer = match next {
                Ok(Some(answer)) => answer,
                // A service that stops ends its streams.
                Ok(None) => return Ok(self.client.error(Status::unavailable("the service ended the watch"))),
                Err(status) => return Ok(self.client.error(status)),
            };
        }
    }

    async fn hand_on(&mut self, answer: v1::WatchRecordsResponse) -> Result<(), End> {
        let v1::WatchRecordsResponse { record, next_index } = answer;
        let record = record.map(Record::try_from).transpose().map_err(End::Failed)?;
        // What was handed out is never handed out again, whatever a service does.
        let record = record.filter(|record| record.index >= self.next_index);
        self.next_index = self.next_index.max(next_index);
        let progress = Progress { record, next_index: self.next_index };
        self.sender.send(Ok(progress)).await.map_err(|_nobody_listens| End::Dropped)
    }

    /// Opens the stream again where the last one ended, waiting longer after each failure.
    async fn reopen(&mut self, broken: ClientError) -> Result<(Answers, v1::WatchRecordsResponse), End> {
        let since = Instant::now();
        let policy = *self.client.retry_policy();
        let mut error = broken;
        for failures in 1_u32.. {
            let impatient = self.patience.is_some_and(|patience| since.elapsed() >= patience);
            let Some(pushback) = self.pushback(&error).filter(|_| policy.max_attempts > 1 && !impatient) else {
                break;
            };
            tokio::select! {
                () = tokio::time::sleep(pushback + policy.backoff(failures)) => {}
                () = self.sender.closed() => return Err(End::Dropped),
            }
            self.generation = self.client.connection().generation();
            let request = v1::WatchRecordsRequest { start_index: Some(self.next_index), ..self.request.clone() };
            match self.client.open_watch(request, Repeat::Never).await {
                Ok(opened) => return Ok(opened),
                Err(next) => error = next,
            }
        }
        Err(End::Failed(error))
    }

    /// How long to wait, at least, before another try; `None` where another try cannot help.
    fn pushback(&self, error: &ClientError) -> Option<Duration> {
        match error {
            // It is a read: what is not known to have happened may be done again.
            ClientError::TimedOut { .. } => Some(Duration::ZERO),
            // The certificate ended while the stream was open, and another one is in use by now.
            ClientError::Refused(refusal)
                if refusal.code == Code::Unauthenticated
                    && self.generation != self.client.connection().generation() =>
            {
                Some(Duration::ZERO)
            }
            // What the service cancels because it stops.
            ClientError::Refused(refusal) if refusal.code == Code::Cancelled => Some(Duration::ZERO),
            other => pushback(other),
        }
    }
}

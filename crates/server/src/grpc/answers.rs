//! The answers of an open stream: made on a task of its own, taken as fast as the caller takes them.
//!
//! There is no other buffer than a few answers between the task and HTTP/2: where the caller's flow-control window is
//! full, the task waits, and whatever it does waits with it.

use super::Office;
use chancery_core::Error;
use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_stream::Stream;
use tonic::Status;
use tracing::Instrument as _;

/// Answers that may wait between the task and the connection, so that the two need not take turns for each.
const WAITING: usize = 16;

/// How a stream ends: in order, or with a status.
pub(super) type End = Result<(), Status>;

/// The answers of a stream, and how it ends.
pub(crate) struct Answers<T> {
    items: mpsc::Receiver<T>,
    /// `None` once it has ended.
    end: Option<oneshot::Receiver<End>>,
    office: Office,
}

impl<T: Send + 'static> Answers<T> {
    /// Runs the work that makes the answers. It ends by itself, or at the deadline, or when nobody takes the answers any
    /// more; then it is dropped.
    pub(super) fn of<F>(office: &Office, deadline: Option<Instant>, work: impl FnOnce(mpsc::Sender<T>) -> F) -> Self
    where
        F: Future<Output = End> + Send + 'static,
    {
        let (answers, items) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        let work = work(answers.clone());
        let task = {
            let office = office.clone();
            async move {
                let how = tokio::select! {
                    biased;
                    () = answers.closed() => return,
                    () = at(deadline) => Err(office.refuse(&Error::DeadlineExceeded { record_index: None })),
                    how = work => how,
                };
                drop(answers);
                // Whoever took the answers may have gone meanwhile.
                let _gone = end.send(how);
            }
        };
        // In the span of its call.
        tokio::spawn(task.in_current_span());
        Self { items, end: Some(ended), office: office.clone() }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(item) = ready!(this.items.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(item)));
        }
        let Some(end) = &mut this.end else { return Poll::Ready(None) };
        let how = ready!(Pin::new(end).poll(cx));
        this.end = None;
        Poll::Ready(match how {
            Ok(Ok(())) => None,
            Ok(Err(status)) => Some(Err(status)),
            // A stream that just ended would seem complete.
            Err(_lost) => Some(Err(this.office.refuse(&crate::errors::fault("the task of a stream ended early")))),
        })
    }
}

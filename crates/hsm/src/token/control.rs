//! The control lane: everything but signing, one request after the other.

use super::Shared;
use super::launch::{receive, send};
use crate::wire::{ControlReply, ControlRequest};
use crate::{DELICATE_GRACE, HsmErrorKind, HsmFailure, ORDERLY_GRACE};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// Idle for this long, the worker is asked how it is; that also keeps the control session alive.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

/// A request on its way to the worker.
#[derive(Debug)]
pub(super) struct ControlJob {
    pub(super) request: ControlRequest,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<ControlReply, HsmFailure>>,
}

/// Why the control lane came to its end.
#[derive(Debug)]
pub(super) enum ControlEnd {
    /// The worker is gone.
    Lost,
    /// It does not answer.
    Hung,
    /// It asks for a successor.
    Replace(String),
    /// Nobody can ask any more.
    Unused,
}

/// Passes requests to a worker until one of them goes.
pub(super) async fn serve(
    shared: &Shared,
    control: &mut UnixStream,
    jobs: &mut mpsc::Receiver<ControlJob>,
) -> ControlEnd {
    loop {
        let job = match timeout(HEALTH_INTERVAL, jobs.recv()).await {
            Ok(Some(job)) => Some(job),
            Ok(None) => return ControlEnd::Unused,
            Err(_idle) => None,
        };
        let ended = match job {
            Some(job) if job.reply.is_closed() || job.deadline <= Instant::now() => Ok(()),
            Some(job) => pass(shared, control, job).await,
            None => check(shared, control).await,
        };
        if let Err(end) = ended {
            return end;
        }
    }
}

async fn pass(shared: &Shared, control: &mut UnixStream, job: ControlJob) -> Result<(), ControlEnd> {
    let ControlJob { request, deadline, reply } = job;
    // A worker must not be killed while it writes to a token.
    let delicate = matches!(request, ControlRequest::Generate { .. } | ControlRequest::Destroy { .. });
    shared.delicate.store(delicate, Ordering::SeqCst);
    send(control, &request).await.map_err(|error| lost(&error))?;
    let mut reply = Some(reply);
    // Never cut off in the middle of a frame.
    let receiving = receive(control);
    tokio::pin!(receiving);
    let answer = match timeout_at(deadline, &mut receiving).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            let message = "the token did not answer by the deadline; what it did is unknown";
            answer_with(
                &mut reply,
                Err(HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::Deadline, message) }),
            );
            // Nobody waits any more; the answer is read all the same, and dropped.
            let patience = if delicate { DELICATE_GRACE } else { ORDERLY_GRACE };
            match timeout(patience, &mut receiving).await {
                Ok(answer) => answer,
                Err(_elapsed) => return Err(ControlEnd::Hung),
            }
        }
    };
    let answer = answer.map_err(|error| lost(&error))?;
    shared.delicate.store(false, Ordering::SeqCst);
    match answer {
        ControlReply::Failed(failure) => {
            let replace = failure.replace.then(|| failure.message.clone());
            answer_with(&mut reply, Err(failure.into_failure()));
            replace.map_or(Ok(()), |reason| Err(ControlEnd::Replace(reason)))
        }
        good => {
            answer_with(&mut reply, Ok(good));
            Ok(())
        }
    }
}

async fn check(shared: &Shared, control: &mut UnixStream) -> Result<(), ControlEnd> {
    let question = async {
        send(control, &ControlRequest::Health).await?;
        receive::<ControlReply>(control).await
    };
    match timeout(ORDERLY_GRACE, question).await {
        Err(_elapsed) => Err(ControlEnd::Hung),
        Ok(Err(error)) => Err(lost(&error)),
        Ok(Ok(ControlReply::Healthy { sessions_open })) => {
            shared.sessions_open.store(sessions_open, Ordering::Relaxed);
            Ok(())
        }
        Ok(Ok(ControlReply::Failed(failure))) => {
            tracing::warn!(token = %shared.settings.id, failure = %failure.clone().into_failure(), "the token is unwell");
            if failure.replace { Err(ControlEnd::Replace(failure.message)) } else { Ok(()) }
        }
        Ok(Ok(_)) => Err(ControlEnd::Replace("the worker answered something else than it was asked".to_owned())),
    }
}

type Reply = oneshot::Sender<Result<ControlReply, HsmFailure>>;

fn answer_with(reply: &mut Option<Reply>, answer: Result<ControlReply, HsmFailure>) {
    if let Some(reply) = reply.take() {
        // Whoever gave up does not need to know.
        let _gone = reply.send(answer);
    }
}

fn lost(error: &io::Error) -> ControlEnd {
    tracing::debug!(%error, "the control socket ended");
    ControlEnd::Lost
}

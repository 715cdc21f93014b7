//! The control lane: everything but signing, one request after the other.

use super::lanes::LaneSet;
use super::launch::{receive, send};
use super::shared::Shared;
use crate::wire::{ControlReply, ControlRequest};
use crate::{DELICATE_GRACE, HsmErrorKind, HsmFailure, ORDERLY_GRACE};
use std::io;
use std::sync::atomic::Ordering;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

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
    /// It can do nothing any more, and asks for a successor.
    Useless(HsmErrorKind, String),
    /// Nobody can ask any more.
    Unused,
}

/// What is to be done next.
enum Next {
    Pass(ControlJob),
    /// The worker is asked how it is: when it was idle for a while, which keeps its sessions alive, ...
    Check,
    /// ... and when it asked to be replaced and may not: then nothing less than health keeps it.
    CheckUp,
}

/// Passes requests to a worker until one of them goes. A worker that drains gets no more.
pub(super) async fn serve(
    shared: &Shared,
    lanes: &LaneSet,
    control: &mut UnixStream,
    jobs: &mut mpsc::Receiver<ControlJob>,
) -> ControlEnd {
    loop {
        if lanes.is_draining() {
            std::future::pending::<()>().await;
        }
        let next = tokio::select! {
            biased;
            () = shared.check_up.notified() => Next::CheckUp,
            job = jobs.recv() => match job {
                Some(job) => Next::Pass(job),
                None => return ControlEnd::Unused,
            },
            () = sleep(shared.settings.keepalive) => Next::Check,
        };
        shared.control_busy.store(true, Ordering::SeqCst);
        let ended = match next {
            Next::Pass(job) if job.reply.is_closed() || job.deadline <= Instant::now() => Ok(()),
            Next::Pass(job) => pass(shared, lanes, control, job).await,
            Next::Check => check(shared, lanes, control, false).await,
            Next::CheckUp => check(shared, lanes, control, true).await,
        };
        shared.control_busy.store(false, Ordering::SeqCst);
        if let Err(end) = ended {
            return end;
        }
    }
}

async fn pass(shared: &Shared, lanes: &LaneSet, control: &mut UnixStream, job: ControlJob) -> Result<(), ControlEnd> {
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
            shared.note_failure(failure.kind);
            if failure.replace {
                // Before anybody hears of it: what he asks next is for the next worker.
                shared.replace_on_request(lanes.generation, failure.kind, &failure.message);
            }
            answer_with(&mut reply, Err(failure.into_failure()));
            Ok(())
        }
        good => {
            answer_with(&mut reply, Ok(good));
            Ok(())
        }
    }
}

/// Asks the worker how it is. With `strictly` one that is not well is given up.
async fn check(shared: &Shared, lanes: &LaneSet, control: &mut UnixStream, strictly: bool) -> Result<(), ControlEnd> {
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
            shared.note_failure(failure.kind);
            if strictly {
                return Err(ControlEnd::Useless(failure.kind, failure.message));
            }
            if failure.replace {
                shared.replace_on_request(lanes.generation, failure.kind, &failure.message);
            }
            Ok(())
        }
        Ok(Ok(_)) => {
            let what = "the worker answered something else than it was asked";
            Err(ControlEnd::Useless(HsmErrorKind::Bug, what.to_owned()))
        }
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

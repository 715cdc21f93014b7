//! Keeps one worker alive for a token, and replaces it when it dies, hangs or asks for it.

use super::Shared;
use super::control::{self, ControlEnd, ControlJob};
use super::lane::LaneSet;
use super::launch::{Launched, launch, see_off};
use crate::wire::{Serve, Started, Task, TokenAddress};
use crate::{
    DELICATE_GRACE, HsmError, HsmErrorKind, HsmFailure, ORDERLY_GRACE, SIGNING_GRACE, START_PATIENCE, TokenHealth,
};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// A worker that lived for less did not do its work: the next one is not started at once.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Waits between starts that come to nothing: from the first to the second, doubled each time up to the third.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

/// What others tell the supervisor.
#[derive(Debug)]
pub(super) enum Event {
    /// The worker of this generation has closed a lane.
    LaneEnded(u64),
    /// The worker of this generation hangs, or asks for a successor.
    Replace(u64, String),
    /// Let the token go.
    Stop,
}

/// A worker at work.
pub(super) struct Live {
    generation: u64,
    child: Child,
    control: UnixStream,
    since: Instant,
}

/// Why a worker's service ends.
#[derive(Debug)]
enum End {
    Lost(String),
    Hung(String),
    Replaced(String),
    Stop,
}

/// Starts a worker and opens its lanes.
pub(super) async fn start_worker(shared: &Arc<Shared>, generation: u64) -> Result<Live, HsmError> {
    let settings = &shared.settings;
    let what = format!("token {} (label {:?})", settings.id, settings.label);
    let lanes = settings.signing_threads.max(1);
    let task = Task::Serve(Serve {
        token: TokenAddress::of(settings),
        lanes: u32::try_from(lanes)
            .map_err(|error| HsmError::caused(HsmErrorKind::Configuration, what.clone(), error))?,
    });
    let environment = &settings.module_environment;
    let Launched { child, control, lanes: mut sockets, started } =
        launch(&what, &shared.worker, environment, lanes, task, START_PATIENCE).await?;
    let facts = match started {
        Started::Serving(facts) => facts,
        other => {
            drop((control, sockets));
            see_off(child, DELICATE_GRACE).await;
            return Err(match other {
                Started::Failed(failure) => HsmError::failure(&what, failure.into_failure()),
                _ => HsmError::new(HsmErrorKind::Bug, format!("{what}: the worker answered something else")),
            });
        }
    };
    sockets.truncate(usize::try_from(facts.lanes).unwrap_or(usize::MAX));
    let opened = LaneSet::new(generation, sockets).map_err(|error| {
        HsmError::caused(HsmErrorKind::Module, format!("{what}: cannot open the lanes: {error}"), error)
    })?;
    let (lanes, readers) = opened;
    for (number, reader) in readers.into_iter().enumerate() {
        let (lanes, shared) = (Arc::clone(&lanes), Arc::clone(shared));
        tokio::spawn(async move {
            lanes.read(number, reader, &shared.dispatch).await;
            shared.tell(Event::LaneEnded(lanes.generation));
        });
    }
    // The anchor and the control session beside the lanes'.
    shared.sessions_open.store(u64::from(facts.lanes) + 2, Ordering::Relaxed);
    shared.pid.store(child.id().unwrap_or(0), Ordering::Relaxed);
    *shared.facts.write().unwrap_or_else(PoisonError::into_inner) = facts;
    shared.dispatch.install(lanes);
    shared.health.send_replace(TokenHealth::Up);
    tracing::info!(token = %settings.id, worker = child.id(), generation, "a worker holds the token");
    Ok(Live { generation, child, control, since: Instant::now() })
}

/// Runs until the token is let go.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    mut live: Live,
    mut events: mpsc::UnboundedReceiver<Event>,
    mut jobs: mpsc::Receiver<ControlJob>,
) {
    let mut back_off = Duration::ZERO;
    loop {
        let end = watch(&shared, &mut live, &mut events, &mut jobs).await;
        let Live { generation, child, control, since } = live;
        let short = since.elapsed() < SHORT_LIFE;
        match &end {
            End::Stop => {}
            End::Lost(reason) | End::Hung(reason) | End::Replaced(reason) => {
                tracing::warn!(token = %shared.settings.id, worker = child.id(), generation, reason, "the worker is replaced");
                shared.health.send_replace(TokenHealth::Starting);
            }
        }
        shared.dispatch.uninstall();
        shared.pid.store(0, Ordering::Relaxed);
        drop(control);
        let grace = match (&end, shared.delicate.swap(false, Ordering::SeqCst)) {
            (_, true) => DELICATE_GRACE,
            (End::Stop | End::Replaced(_), false) => ORDERLY_GRACE,
            (End::Lost(_) | End::Hung(_), false) => SIGNING_GRACE,
        };
        let status = see_off(child, grace).await;
        tracing::debug!(token = %shared.settings.id, generation, status = status.map(|status| status.to_string()), "the worker has ended");
        if matches!(end, End::Stop) {
            break;
        }
        back_off = if short { longer(back_off) } else { Duration::ZERO };
        match restart(&shared, generation + 1, back_off, &mut events).await {
            Some(next) => live = next,
            None => break,
        }
    }
    let stopped = HsmFailure::new(HsmErrorKind::Stopping, "the token has been let go");
    shared.dispatch.refuse(stopped.clone());
    shared.dispatch.fail_queued(&stopped);
    shared.health.send_if_modified(|health| match health {
        TokenHealth::Latched { .. } => false,
        TokenHealth::Starting | TokenHealth::Up | TokenHealth::Down { .. } => {
            *health = TokenHealth::Down { kind: stopped.kind, reason: stopped.message.clone() };
            true
        }
    });
    shared.done.send_replace(true);
}

/// Serves with one worker until it ends.
async fn watch(
    shared: &Shared,
    live: &mut Live,
    events: &mut mpsc::UnboundedReceiver<Event>,
    jobs: &mut mpsc::Receiver<ControlJob>,
) -> End {
    let Live { generation, child, control, .. } = live;
    let generation = *generation;
    let controlled = control::serve(shared, control, jobs);
    tokio::pin!(controlled);
    loop {
        tokio::select! {
            end = &mut controlled => return match end {
                ControlEnd::Lost => End::Lost("it closed its control socket".to_owned()),
                ControlEnd::Hung => End::Hung("it does not answer on its control socket".to_owned()),
                ControlEnd::Replace(reason) => End::Replaced(reason),
                ControlEnd::Unused => End::Stop,
            },
            status = child.wait() => return End::Lost(match status {
                Ok(status) => format!("it ended with {status}"),
                Err(error) => format!("waiting for it failed: {error}"),
            }),
            event = events.recv() => match event {
                Some(Event::LaneEnded(ended)) if ended == generation => {
                    return End::Lost("it closed a lane".to_owned());
                }
                Some(Event::Replace(ended, reason)) if ended == generation => return End::Hung(reason),
                Some(Event::LaneEnded(_) | Event::Replace(..)) => {}
                Some(Event::Stop) | None => return End::Stop,
            },
        }
    }
}

/// Starts workers until one holds the token. `None`: the token was let go meanwhile.
async fn restart(
    shared: &Arc<Shared>,
    generation: u64,
    mut back_off: Duration,
    events: &mut mpsc::UnboundedReceiver<Event>,
) -> Option<Live> {
    let mut latched = false;
    loop {
        let (hopeless, wait) = (latched, back_off);
        let start = async {
            if hopeless {
                // Only a person can help.
                std::future::pending::<()>().await;
            }
            sleep(wait).await;
            start_worker(shared, generation).await
        };
        tokio::pin!(start);
        let started = loop {
            tokio::select! {
                started = &mut start => break started,
                event = events.recv() => match event {
                    // Dropping the start lets go of the sockets: a worker that is on its way leaves by itself.
                    Some(Event::Stop) | None => return None,
                    Some(Event::LaneEnded(_) | Event::Replace(..)) => {}
                },
            }
        };
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        match started {
            Ok(live) => return Some(live),
            Err(error) => {
                let kind = error.kind;
                latched = kind == HsmErrorKind::PinLatched;
                let reason = error.to_string();
                tracing::error!(token = %shared.settings.id, reason, "no worker could take the token");
                let failure = HsmFailure::new(kind, reason.clone());
                shared.dispatch.refuse(failure.clone());
                shared.dispatch.fail_queued(&failure);
                shared.health.send_replace(if latched {
                    TokenHealth::Latched { kind, reason }
                } else {
                    TokenHealth::Down { kind, reason }
                });
                back_off = longer(back_off);
            }
        }
    }
}

fn longer(back_off: Duration) -> Duration {
    if back_off.is_zero() { FIRST_BACK_OFF } else { (back_off * 2).min(LONGEST_BACK_OFF) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_grows_and_stops_growing() {
        let mut waits = vec![Duration::ZERO];
        for _ in 0..8 {
            waits.push(longer(*waits.last().unwrap()));
        }
        assert_eq!(waits[1], FIRST_BACK_OFF);
        assert_eq!(waits[2], FIRST_BACK_OFF * 2);
        assert_eq!(waits[8], LONGEST_BACK_OFF);
    }
}

//! Keeps one worker alive for a token, and replaces it when it dies, hangs, asks for it or grows too large.

use super::breaker::BackOff;
use super::control::{self, ControlEnd, ControlJob};
use super::lanes::{LaneSet, Stall};
use super::launch::{Launched, launch, see_off};
use super::shared::Shared;
use super::state::Happening;
use super::vitals::{Bounds, Size, Vitals};
use crate::wire::{Serve, Started, Task, TokenAddress};
use crate::{
    ClearLatchError, DELICATE_GRACE, HealthCause, HsmError, HsmErrorKind, HsmFailure, ORDERLY_GRACE,
    REPLACING_PATIENCE, SIGNING_GRACE, START_PATIENCE, TokenState,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// How often a worker is looked at that nobody complains about: its size, its lanes, its failures.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether a worker has answered what it has.
const DRAIN_POLL: Duration = Duration::from_millis(2);

/// The kernel refuses a worker so many times the memory above which it is replaced.
const DATA_LIMIT_FACTOR: u64 = 4;

/// What others tell the supervisor.
#[derive(Debug)]
pub(super) enum Event {
    /// The worker of this generation has closed a lane.
    LaneEnded(u64),
    /// The worker of this generation is to be replaced. It is draining already.
    Replace { generation: u64, cause: HealthCause, reason: String },
    /// An operator lets one login be tried although the PIN was refused.
    ClearLatch(Cleared),
    /// Let the token go.
    Stop,
}

/// Where it is told what became of a PIN latch.
pub(super) type Cleared = oneshot::Sender<Result<(), ClearLatchError>>;

/// What becomes of a token whose first start comes to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insistence {
    /// It is given up.
    First,
    /// It is given up where the settings are wrong.
    OnSettings,
}

/// Who waits for the first start.
#[derive(Debug)]
pub(super) struct First {
    pub(super) first: oneshot::Sender<Result<(), HsmError>>,
    pub(super) insistence: Insistence,
}

/// A worker at work.
struct Live {
    generation: u64,
    child: Child,
    control: UnixStream,
    lanes: Arc<LaneSet>,
    since: Instant,
}

/// Why a worker's service ends.
#[derive(Debug)]
enum End {
    /// It is gone, or does not answer.
    Lost(HealthCause, String),
    /// It has answered what it had.
    Drained(HealthCause, String),
    Stop,
}

/// Runs until the token is let go.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    first: First,
    mut events: mpsc::UnboundedReceiver<Event>,
    mut jobs: mpsc::Receiver<ControlJob>,
) {
    let mut back_off = BackOff::default();
    let mut generation = 1;
    let mut first = Some(first);
    while let Some(live) = take(&shared, generation, &mut back_off, &mut first, &mut events).await {
        let since = live.since;
        if hold(&shared, live, &mut events, &mut jobs).await.is_none() {
            break;
        }
        back_off.ended(since.elapsed());
        generation += 1;
    }
    let stopped = HsmFailure::new(HsmErrorKind::Stopping, "the token has been let go");
    shared.dispatch.refuse(stopped.clone());
    shared.dispatch.fail_queued(&stopped);
    shared.happened(Happening::LetGo, &stopped.message);
    shared.done.send_replace(true);
}

/// Starts workers until one holds the token. `None`: the token was let go meanwhile, or its first start was insisted on.
async fn take(
    shared: &Arc<Shared>,
    generation: u64,
    back_off: &mut BackOff,
    first: &mut Option<First>,
    events: &mut mpsc::UnboundedReceiver<Event>,
) -> Option<Live> {
    let mut next = Instant::now() + back_off.wait(random());
    loop {
        let (mut clearing, not_before) = (None, next);
        let latched = shared.health().state == TokenState::Latched;
        if latched {
            clearing = Some(next_clearing(events).await?);
            shared.dispatch.accept();
            shared.happened(Happening::LatchCleared, "an operator lets one login be tried");
        }
        let start = async {
            if !latched {
                sleep_until(not_before).await;
            }
            shared.set_next_attempt(None);
            start_worker(shared, generation, latched).await
        };
        tokio::pin!(start);
        let started = loop {
            tokio::select! {
                started = &mut start => break started,
                event = events.recv() => match event {
                    // Dropping the start lets go of the sockets: a worker that is on its way leaves by itself.
                    Some(Event::Stop) | None => return None,
                    Some(Event::ClearLatch(cleared)) => refuse(cleared),
                    Some(Event::LaneEnded(_) | Event::Replace { .. }) => {}
                },
            }
        };
        if first.is_none() {
            shared.restarts.fetch_add(1, Ordering::Relaxed);
        }
        let error = match started {
            Ok(live) => {
                answer(clearing, Ok(()));
                // Whoever gave up waiting finds it up.
                let _gone = first.take().map(|First { first, .. }| first.send(Ok(())));
                return Some(live);
            }
            Err(error) => error,
        };
        back_off.failed();
        next = Instant::now() + back_off.wait(random());
        let (kind, reason) = (error.kind, error.to_string());
        // Whoever sees that it is down sees when it is tried again. A latched one is not.
        let again = !latched && kind != HsmErrorKind::PinLatched;
        shared.set_next_attempt(again.then_some(next));
        // Whatever it was this time: the PIN has been refused, and nothing has shown that it is right.
        let cause = if latched { HealthCause::PinRefused } else { error.cause };
        let told = if latched { HsmErrorKind::PinLatched } else { while_down(kind) };
        let failure = HsmFailure::new(told, reason.clone());
        shared.dispatch.refuse(failure.clone());
        shared.dispatch.fail_queued(&failure);
        tracing::debug!(token = %shared.settings.id, reason, "no worker could take the token");
        shared.happened(Happening::NotTaken(cause), &reason);
        answer(clearing, Err(ClearLatchError::Failed(HsmFailure::new(kind, reason))));
        if let Some(First { first, insistence }) = first.take() {
            let given_up = match insistence {
                Insistence::First => true,
                Insistence::OnSettings => cause.is_of_the_configuration(),
            };
            if given_up {
                if first.send(Err(error)).is_ok() {
                    return None;
                }
            } else {
                // Whoever gave up waiting finds out by its health.
                let _gone = first.send(Ok(()));
            }
        }
    }
}

/// What a call is told that a token refuses while it is down: nothing was asked of it, so nothing of a session, a key or an
/// outcome.
const fn while_down(kind: HsmErrorKind) -> HsmErrorKind {
    match kind {
        HsmErrorKind::PinLatched
        | HsmErrorKind::Configuration
        | HsmErrorKind::Capacity
        | HsmErrorKind::Memory
        | HsmErrorKind::Stopping => kind,
        HsmErrorKind::TokenAbsent
        | HsmErrorKind::Session
        | HsmErrorKind::LoginLost
        | HsmErrorKind::OutcomeUnknown
        | HsmErrorKind::Deadline
        | HsmErrorKind::WorkerLost
        | HsmErrorKind::Module
        | HsmErrorKind::Overloaded
        | HsmErrorKind::Bug
        | HsmErrorKind::KeyNotFound
        | HsmErrorKind::KeyAmbiguous
        | HsmErrorKind::InputLength
        | HsmErrorKind::WrongSignature => HsmErrorKind::TokenAbsent,
    }
}

/// Waits until an operator lets a login be tried. `None`: the token was let go meanwhile.
async fn next_clearing(events: &mut mpsc::UnboundedReceiver<Event>) -> Option<Cleared> {
    loop {
        match events.recv().await {
            Some(Event::ClearLatch(cleared)) => return Some(cleared),
            Some(Event::LaneEnded(_) | Event::Replace { .. }) => {}
            Some(Event::Stop) | None => return None,
        }
    }
}

fn refuse(cleared: Cleared) {
    answer(Some(cleared), Err(ClearLatchError::NotLatched));
}

fn answer(cleared: Option<Cleared>, result: Result<(), ClearLatchError>) {
    // Whoever gave up finds out by the token's health.
    let _gone = cleared.map(|cleared| cleared.send(result));
}

/// Between no and all of a wait. Where there is no randomness, all of it.
fn random() -> u32 {
    chancery_crypto::random_bytes::<4>().map_or(u32::MAX, u32::from_le_bytes)
}

/// Starts a worker and opens its lanes.
async fn start_worker(shared: &Arc<Shared>, generation: u64, clear_latch: bool) -> Result<Live, HsmError> {
    let settings = &shared.settings;
    let what = format!("token {} (label {:?})", settings.id, settings.label);
    let lanes = settings.signing_threads.max(1);
    let token = TokenAddress {
        pin: shared.pin(),
        seen_serial: shared.facts(|facts| facts.map(|facts| facts.serial.clone())),
        ..TokenAddress::of(settings)
    };
    let task = Task::Serve(Serve {
        token,
        lanes: u32::try_from(lanes)
            .map_err(|error| HsmError::caused(HsmErrorKind::Configuration, what.clone(), error))?,
        keepalive_milliseconds: u64::try_from(settings.keepalive.as_millis()).unwrap_or(u64::MAX),
        data_limit_bytes: settings.max_worker_memory_bytes.saturating_mul(DATA_LIMIT_FACTOR),
        clear_latch,
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
                Started::Failed(failure) => {
                    let cause = failure.cause.unwrap_or_else(|| HealthCause::of(failure.kind));
                    HsmError::failure(&what, failure.into_failure()).because(cause)
                }
                _ => HsmError::new(HsmErrorKind::Bug, format!("{what}: the worker answered something else")),
            });
        }
    };
    let count = |lanes: u32| usize::try_from(lanes).unwrap_or(usize::MAX);
    sockets.truncate(count(facts.lanes));
    let opened = LaneSet::new(generation, sockets, count(facts.lanes_with_session)).map_err(|error| {
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
    shared.sessions_open.store(u64::from(facts.lanes_with_session) + 2, Ordering::Relaxed);
    let pid = child.id().unwrap_or(0);
    shared.pid.store(pid, Ordering::Relaxed);
    shared.set_vitals(Vitals::of(pid));
    shared.begin_anew(facts);
    // First, since whoever sees that it is up may call at once.
    shared.dispatch.install(Arc::clone(&lanes));
    serves(shared, &lanes, false);
    tracing::info!(token = %settings.id, worker = pid, generation, "a worker holds the token");
    Ok(Live { generation, child, control, lanes, since: Instant::now() })
}

/// Serves with one worker until it ends, and sees it off. `None`: the token is let go.
async fn hold(
    shared: &Shared,
    mut live: Live,
    events: &mut mpsc::UnboundedReceiver<Event>,
    jobs: &mut mpsc::Receiver<ControlJob>,
) -> Option<()> {
    let end = watch(shared, &mut live, events, jobs).await;
    let Live { generation, child, control, .. } = live;
    if let End::Lost(cause, reason) | End::Drained(cause, reason) = &end {
        tracing::warn!(token = %shared.settings.id, worker = child.id(), generation, reason, "the worker is replaced");
        shared.happened(Happening::Goes(*cause), reason);
    }
    shared.dispatch.uninstall();
    shared.pid.store(0, Ordering::Relaxed);
    shared.control_busy.store(false, Ordering::SeqCst);
    drop(control);
    let grace = match (&end, shared.delicate.swap(false, Ordering::SeqCst)) {
        (_, true) => DELICATE_GRACE,
        (End::Stop, false) => ORDERLY_GRACE,
        // One that hangs has been waited for.
        (End::Drained(HealthCause::WorkerHung, _) | End::Lost(..), false) => SIGNING_GRACE,
        (End::Drained(..), false) => ORDERLY_GRACE,
    };
    let status = see_off(child, grace).await.map(|status| status.to_string());
    tracing::debug!(token = %shared.settings.id, generation, status, "the worker has ended");
    (!matches!(end, End::Stop)).then_some(())
}

/// Serves with one worker until it ends.
async fn watch(
    shared: &Shared,
    live: &mut Live,
    events: &mut mpsc::UnboundedReceiver<Event>,
    jobs: &mut mpsc::Receiver<ControlJob>,
) -> End {
    let Live { generation, child, control, lanes, .. } = live;
    let (generation, lanes) = (*generation, &**lanes);
    let controlled = control::serve(shared, lanes, control, jobs);
    tokio::pin!(controlled);
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Why the worker drains, and until when at most.
    let mut draining: Option<(HealthCause, String, Instant)> = None;
    loop {
        let drain_poll = async {
            match &draining {
                None => std::future::pending().await,
                Some(_) => sleep(DRAIN_POLL).await,
            }
        };
        tokio::select! {
            end = &mut controlled => return match end {
                ControlEnd::Lost => End::Lost(HealthCause::WorkerEnded, "it closed its control socket".to_owned()),
                ControlEnd::Hung => {
                    End::Lost(HealthCause::WorkerHung, "it does not answer on its control socket".to_owned())
                }
                // It answers, so it leaves in order: killed in the middle of a login it may take the token with it.
                ControlEnd::Useless(kind, reason) => End::Drained(HealthCause::of(kind), reason),
                ControlEnd::Unused => End::Stop,
            },
            status = child.wait() => return End::Lost(HealthCause::WorkerEnded, match status {
                Ok(status) => format!("it ended with {status}"),
                Err(error) => format!("waiting for it failed: {error}"),
            }),
            event = events.recv() => match event {
                Some(Event::LaneEnded(ended)) if ended == generation => {
                    return End::Lost(HealthCause::WorkerEnded, "it closed a lane".to_owned());
                }
                Some(Event::Replace { generation: ended, cause, reason }) if ended == generation => {
                    if draining.is_none() {
                        lanes.drain();
                        shared.happened(Happening::Goes(cause), &reason);
                        draining = Some((cause, reason, Instant::now() + REPLACING_PATIENCE));
                    }
                }
                Some(Event::LaneEnded(_) | Event::Replace { .. }) => {}
                Some(Event::ClearLatch(cleared)) => refuse(cleared),
                Some(Event::Stop) | None => return End::Stop,
            },
            _ = look.tick(), if draining.is_none() => look_at(shared, lanes),
            () = drain_poll => {
                let still = shared.control_busy.load(Ordering::SeqCst) || !lanes.is_drained();
                if let Some((cause, reason, _)) = draining.take_if(|(_, _, until)| !still || *until <= Instant::now()) {
                    return End::Drained(cause, reason);
                }
            }
        }
    }
}

/// Looks how a worker is that nobody complains about.
fn look_at(shared: &Shared, lanes: &LaneSet) {
    if lanes.is_draining() {
        return;
    }
    // Also where nobody waits any more: what we ask ourselves, and what was given up, hangs all the same.
    if lanes.stall() == Stall::Hung {
        shared.replace_hung(lanes);
        return;
    }
    lanes.look_after(&shared.dispatch);
    let vitals = Vitals::of(shared.pid.load(Ordering::Relaxed));
    shared.set_vitals(vitals);
    let bounds =
        Bounds { memory_bytes: shared.settings.max_worker_memory_bytes, lanes: shared.settings.signing_threads };
    let near = match vitals.map_or(Size::Fit, |vitals| vitals.size(bounds)) {
        Size::Fit => false,
        Size::Near => true,
        Size::Over(reason) => {
            if shared.may_replace() {
                shared.replace(lanes, HealthCause::WorkerOverLimit, &reason);
                return;
            }
            true
        }
    };
    serves(shared, lanes, near);
}

/// Says how a token is that is served.
fn serves(shared: &Shared, lanes: &LaneSet, near_limit: bool) {
    let conditions = shared.conditions(lanes, near_limit);
    let (lanes, wanted) = (lanes.with_session(), shared.settings.signing_threads);
    let detail = format!("{lanes} of {wanted} lanes have a session; {conditions:?}");
    shared.happened(Happening::Serves(conditions), &detail);
}

//! A worker that holds a token: its start, its control lane, and its orderly end.

use super::adopt;
use super::fault::Fault;
use super::held::Held;
use super::keys;
use super::lane::{Lane, is_gone};
use super::latch::PinLatch;
use super::lock::TokenLock;
use super::mechanism::EdwardsName;
use super::{module, probe, process};
use crate::LOCK_PATIENCE;
use crate::return_codes::Cure;
use crate::wire::{
    ControlReply, ControlRequest, Serve, Started, TokenAddress, TokenFacts, WireAdopted, algorithm_at, read_control,
    write_control,
};
use chancery_model::TokenObjectId;
use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the lanes may take to finish what they have read once the service is gone. One that hangs in the module
/// is left behind by `_exit`.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// An opened token, as serving and measuring both need it.
pub(super) struct Opened {
    pub(super) pkcs11: Pkcs11,
    pub(super) held: Arc<Held>,
    pub(super) facts: TokenFacts,
    _lock: TokenLock,
}

/// Takes the lock, finds the token and logs in.
///
/// With `clear_latch` the PIN is tried once although it was refused before.
pub(super) fn open(address: TokenAddress, clear_latch: bool) -> Result<Opened, Fault> {
    let TokenAddress { module, label, serial, seen_serial, pin, lock_dir } = address;
    let lock = TokenLock::acquire(&lock_dir, &label, serial.as_deref(), LOCK_PATIENCE)?;
    let pkcs11 = module::load(&module)?;
    let (slot, info) = module::find_token(
        &pkcs11,
        module::Wanted { label: &label, serial: serial.as_deref(), seen_serial: seen_serial.as_deref() },
    )?;
    let facts = probe::facts(&pkcs11, slot, &info)?;
    let latch = PinLatch::new(&lock_dir, &label, &facts.serial);
    let held = Arc::new(Held::open(pkcs11.clone(), slot, pin, latch, clear_latch)?);
    Ok(Opened { pkcs11, held, facts, _lock: lock })
}

/// Serves until the service lets go of the control socket; the process ends here.
pub(super) fn run(control: &UnixStream, task: Serve) -> io::Result<()> {
    let Serve { token, lanes, keepalive_milliseconds, data_limit_bytes, clear_latch } = task;
    let sockets = process::lane_sockets(lanes)?;
    process::limit_data(data_limit_bytes)?;
    let keepalive = Duration::from_millis(keepalive_milliseconds.max(1));
    let opened = match open(token, clear_latch) {
        Ok(opened) => opened,
        Err(fault) => return write_control(control, &Started::Failed(fault.of_the_token().into())),
    };
    let (mut worker, sessions) = match Worker::start(&opened, sockets.len()) {
        Ok(started) => started,
        Err(fault) => return write_control(control, &Started::Failed(fault.of_the_token().into())),
    };
    let mut facts = opened.facts;
    worker.edwards = match worker.session().and_then(|session| probe::keys(session, &mut facts)) {
        Ok(edwards) => edwards,
        Err(fault) => return write_control(control, &Started::Failed(fault.of_the_token().into())),
    };
    let count = |lanes: usize| u32::try_from(lanes).unwrap_or(u32::MAX);
    facts.lanes = count(sessions.len());
    facts.lanes_with_session = count(sessions.iter().flatten().count());

    let mut lanes = Vec::new();
    for (number, (session, socket)) in sessions.into_iter().zip(sockets).enumerate() {
        let ours = socket.try_clone()?;
        let lane = Lane::new(Arc::clone(&opened.held), session, keepalive);
        let thread = std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
            if let Err(error) = lane.run(&socket) {
                report(&format!("a lane failed: {error}"));
                // The service sees it end and lets this worker go, in order: it may be writing to the token.
                let _gone = socket.shutdown(Shutdown::Both);
            }
        })?;
        lanes.push((ours, thread));
    }
    write_control(control, &Started::Serving(facts))?;
    loop {
        let answered = match read_control(control) {
            Ok(Some(request)) => write_control(control, &worker.answer(request)),
            Ok(None) => break,
            Err(error) => Err(error),
        };
        match answered {
            // A lane may be in the middle of a login, which is no time to leave.
            Err(error) if is_gone(&error) => break,
            answered => answered?,
        }
    }
    drain(&opened.pkcs11, &opened.held, worker, lanes);
    Ok(())
}

/// Stop intake, let the lanes finish, end every session, finalise: in any other order SoftHSM crashes.
fn drain(pkcs11: &Pkcs11, held: &Held, mut worker: Worker, lanes: Vec<(UnixStream, JoinHandle<()>)>) {
    for (socket, _) in &lanes {
        // What the service has sent is still read; an error means that the socket is gone already.
        let _gone = socket.shutdown(Shutdown::Read);
    }
    let until = Instant::now() + DRAIN_PATIENCE;
    while lanes.iter().any(|(_, thread)| !thread.is_finished()) {
        if Instant::now() >= until {
            report("a lane did not come back from the PKCS#11 module; leaving without it");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    worker.drop_session();
    held.release();
    if let Err(fault) = module::finalise(pkcs11) {
        report(&fault.message);
    }
}

/// A line on standard error, which is the service's: there is no service left to tell in any other way.
fn report(message: &str) {
    use std::io::Write;
    // Nobody to tell that nobody could be told.
    let _unsaid = writeln!(io::stderr(), "chancery worker {}: {message}", std::process::id());
}

/// The control lane.
struct Worker {
    held: Arc<Held>,
    session: Option<Session>,
    edwards: EdwardsName,
}

impl Worker {
    /// Opens the control session and as many others as the token gives now, at least one. Of the lanes, those beyond
    /// what it allows at most are left out.
    fn start(opened: &Opened, lanes: usize) -> Result<(Self, Vec<Option<Session>>), Fault> {
        let held = Arc::clone(&opened.held);
        let control = held.open_writing_session()?;
        held.ensure_sentinel(&control)?;
        // The anchor and the control session are two of them.
        let limit = opened.facts.sessions_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let lanes = lanes.min(limit.saturating_sub(2)).max(1);
        let mut sessions = Vec::with_capacity(lanes);
        while sessions.len() < lanes {
            match held.open_session() {
                Ok(session) => sessions.push(Some(session)),
                // Others use the token's sessions too: fewer lanes will do, until there are some again.
                Err(fault) if fault.kind == crate::HsmErrorKind::Capacity && !sessions.is_empty() => {
                    sessions.resize_with(lanes, || None);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok((Self { held, session: Some(control), edwards: EdwardsName::Oid }, sessions))
    }

    fn session(&mut self) -> Result<&Session, Fault> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.held.open_writing_session()?,
        };
        Ok(self.session.insert(session))
    }

    fn drop_session(&mut self) {
        if let Some(session) = self.session.take() {
            self.held.close(session);
        }
    }

    fn answer(&mut self, request: ControlRequest) -> ControlReply {
        self.act(request).unwrap_or_else(|fault| {
            if matches!(fault.cure, Cure::NewSession | Cure::FreshSessionThenReplace) {
                // The next request opens another.
                self.drop_session();
            }
            ControlReply::Failed(fault.into())
        })
    }

    fn act(&mut self, request: ControlRequest) -> Result<ControlReply, Fault> {
        let held = Arc::clone(&self.held);
        let edwards = self.edwards;
        held.ensure_login()?;
        let session = self.session()?;
        let bad_algorithm = |error: io::Error| Fault::new(crate::HsmErrorKind::Bug, error.to_string());
        let object_id = |id: Vec<u8>| {
            TokenObjectId::try_from(id.as_slice())
                .map_err(|error| Fault::new(crate::HsmErrorKind::Bug, error.to_string()))
        };
        match request {
            ControlRequest::Generate { uid, label, algorithm } => {
                let algorithm = algorithm_at(algorithm).map_err(bad_algorithm)?;
                keys::generate(&held, session, &uid, &label, algorithm, edwards).map(ControlReply::Key)
            }
            ControlRequest::Inspect { id, algorithm } => {
                keys::inspect(&held, session, &object_id(id)?, algorithm_at(algorithm).map_err(bad_algorithm)?)
            }
            ControlRequest::Destroy { id, adopted } => {
                let id = object_id(id)?;
                if let Some(WireAdopted { algorithm, spki_der }) = adopted {
                    let algorithm = algorithm_at(algorithm).map_err(bad_algorithm)?;
                    adopt::require_same(session, &id, algorithm, spki_der.as_deref())?;
                }
                keys::destroy(&held, session, &id).map(ControlReply::Destroyed)
            }
            ControlRequest::Find { id, label, algorithm } => {
                adopt::find(&held, session, id, label, algorithm_at(algorithm).map_err(bad_algorithm)?)
            }
            ControlRequest::List => keys::list(&held, session).map(ControlReply::Objects),
            ControlRequest::ListSecrets { id } => keys::list_secrets(&held, session, id).map(ControlReply::Objects),
            ControlRequest::Health => {
                session.get_session_info().map_err(|error| Fault::pkcs11("reading the session's state", &error))?;
                Ok(ControlReply::Healthy { sessions_open: held.sessions_open() })
            }
        }
    }
}

//! One signing thread: its socket, its session, and nothing shared on the way but the map of handles.

use super::fault::Fault;
use super::held::Held;
use super::operations;
use crate::HsmErrorKind;
use crate::return_codes::Cure;
use crate::wire::{FrameBuffer, LaneRequest, Operation, encode_lane_reply};
use chancery_model::TokenObjectId;
use cryptoki::session::Session;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Replies that are sent together. More of them make the first one wait, fewer cost a system call each.
const FLUSH_AFTER: usize = 4;

/// A lane on its thread.
#[derive(Debug)]
pub(super) struct Lane {
    held: Arc<Held>,
    session: Option<Session>,
    /// Idle for so long, it touches its session.
    keepalive: Duration,
    /// Failures in a row of which the token did not say what it did.
    unknown_outcomes: u32,
}

impl Lane {
    /// Without a session it gets one when there is something to do, if the token has one then.
    pub(super) fn new(held: Arc<Held>, session: Option<Session>, keepalive: Duration) -> Self {
        Self { held, session, keepalive, unknown_outcomes: 0 }
    }

    /// Answers what comes until the service is gone. What was read by then is still answered.
    pub(super) fn run(mut self, socket: &UnixStream) -> io::Result<()> {
        let served = self.serve(socket);
        self.drop_session();
        match served {
            // The service has gone before its answers: no failure of this lane.
            Err(error) if is_gone(&error) => Ok(()),
            served => served,
        }
    }

    fn serve(&mut self, mut socket: &UnixStream) -> io::Result<()> {
        socket.set_read_timeout(Some(self.keepalive))?;
        let mut frames = FrameBuffer::default();
        let mut read = vec![0; 1 << 16];
        let mut replies = Vec::new();
        loop {
            let length = match socket.read(&mut read) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.keep_alive();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            frames.extend(read.get(..length).unwrap_or_default());
            let mut waiting = 0;
            while let Some(body) = frames.next()? {
                let reply = self.answer(&LaneRequest::decode(body)?).map_err(Into::into);
                encode_lane_reply(&reply, &mut replies)?;
                waiting += 1;
                if waiting == FLUSH_AFTER {
                    socket.write_all(&replies)?;
                    replies.clear();
                    waiting = 0;
                }
            }
            if !replies.is_empty() {
                socket.write_all(&replies)?;
                replies.clear();
            }
        }
    }

    fn answer(&mut self, request: &LaneRequest<'_>) -> Result<Vec<u8>, Fault> {
        operations::check(&request.operation)?;
        if request.fresh_session {
            self.drop_session();
        }
        if let Some(fault) = self.session().err() {
            // Nothing was asked of the token yet: where it only has no session left, another lane may have one.
            let no_session = fault.kind == HsmErrorKind::Capacity;
            return Err(Fault { no_session, ..self.cure(fault, None) });
        }
        match self.act(&request.operation) {
            Ok(answer) => {
                self.unknown_outcomes = 0;
                Ok(answer)
            }
            Err(fault) => Err(self.cure(fault, request.operation.id().as_ref())),
        }
    }

    fn act(&mut self, operation: &Operation<'_>) -> Result<Vec<u8>, Fault> {
        let held = Arc::clone(&self.held);
        operations::act(&held, self.session()?, operation)
    }

    fn session(&mut self) -> Result<&Session, Fault> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.held.open_session()?,
        };
        Ok(self.session.insert(session))
    }

    fn drop_session(&mut self) {
        if let Some(session) = self.session.take() {
            self.held.close(session);
        }
    }

    /// Mends what the failure broke, so that the next call finds it whole, and says what the service should do.
    fn cure(&mut self, fault: Fault, id: Option<&TokenObjectId>) -> Fault {
        match fault.cure {
            Cure::Nothing | Cure::Benign | Cure::Latch | Cure::Replace => fault,
            Cure::NewSession => self.renew(fault),
            Cure::FreshSessionThenReplace => {
                self.unknown_outcomes += 1;
                let fault = self.renew(fault);
                if self.unknown_outcomes > 1 { fault.replacing() } else { fault }
            }
            Cure::Login => match self.held.ensure_login() {
                Ok(()) => fault,
                Err(found) => fault.reclassified(found),
            },
            Cure::FindAgain => match id {
                Some(id) => self.find_again(fault, id),
                None => fault,
            },
        }
    }

    fn renew(&mut self, fault: Fault) -> Fault {
        self.drop_session();
        let held = Arc::clone(&self.held);
        // With its last session a token also forgets the login.
        match self.session().map(|_| ()).and_then(|()| held.ensure_login()) {
            Ok(()) => fault,
            Err(found) if found.kind == HsmErrorKind::PinLatched => fault.reclassified(found),
            Err(_) => fault.replacing(),
        }
    }

    fn find_again(&mut self, fault: Fault, id: &TokenObjectId) -> Fault {
        let held = Arc::clone(&self.held);
        match self.session().and_then(|session| held.locate(session, id)) {
            Ok(_) => {
                let renewed = Fault::new(HsmErrorKind::Session, "the key's handle was stale and has been found again");
                fault.reclassified(renewed.retrying())
            }
            Err(found) => {
                let fault = fault.reclassified(found);
                match fault.cure {
                    // The search left something of itself in the session, which the next attempt is not to stumble over.
                    Cure::NewSession | Cure::FreshSessionThenReplace => self.renew(fault),
                    Cure::Nothing | Cure::Benign | Cure::FindAgain | Cure::Login | Cure::Latch | Cure::Replace => fault,
                }
            }
        }
    }

    fn keep_alive(&mut self) {
        if self.session.is_none() {
            // Whoever needs one asks for it.
            return;
        }
        let touched = match self.session() {
            Ok(session) => {
                session.get_session_info().map(|_| ()).map_err(|error| Fault::pkcs11("keeping alive", &error))
            }
            Err(fault) => Err(fault),
        };
        if let Err(fault) = touched {
            // The next call finds a new session, or reports what is wrong itself.
            let _cured = self.cure(fault, None);
        }
    }
}

/// Whether an error on a socket says that the service has closed its end.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

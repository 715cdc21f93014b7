//! What is known of the sessions of the module behind: their slots, and the keys of their operations.
//!
//! Kept for each call, whether there are rules or not: rules may come at any time and be about sessions that are open.

use super::behind::behind;
use super::gate;
use super::thunk::Words;
use crate::function::{Function, Operation};
use cryptoki_sys::{CK_MECHANISM, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_OK};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A session that the program opened, and has not closed.
#[derive(Debug)]
pub(crate) struct Session {
    /// By the number that the module behind gives it.
    pub(crate) slot: CK_SLOT_ID,
    /// Whether it was closed behind the program's back.
    pub(crate) is_dead: bool,
    pub(crate) last_used: Instant,
    pub(crate) search: Search,
    keys: Vec<(Operation, Key)>,
}

/// What was made of a session's search.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Whether it was lied about.
    pub(crate) is_false: bool,
    /// Objects that it is still to find.
    pub(crate) to_come: Vec<CK_OBJECT_HANDLE>,
}

/// The key of an operation, and what is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) handle: CK_OBJECT_HANDLE,
    pub(crate) mechanism: CK_MECHANISM_TYPE,
}

/// All sessions, by handle.
#[derive(Debug, Default)]
pub(crate) struct Sessions(HashMap<CK_SESSION_HANDLE, Session>);

/// The sessions of this process.
pub(crate) fn sessions() -> MutexGuard<'static, Sessions> {
    static SESSIONS: LazyLock<Mutex<Sessions>> = LazyLock::new(Mutex::default);
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(crate) fn get(&mut self, handle: CK_SESSION_HANDLE) -> Option<&mut Session> {
        self.0.get_mut(&handle)
    }

    /// How many sessions of a slot live.
    pub(crate) fn living(&self, slot: CK_SLOT_ID) -> usize {
        self.0.values().filter(|session| session.slot == slot && !session.is_dead).count()
    }

    /// A living session in a slot.
    pub(crate) fn any_in(&self, slot: CK_SLOT_ID) -> Option<CK_SESSION_HANDLE> {
        self.0.iter().find(|(_, session)| session.slot == slot && !session.is_dead).map(|(handle, _)| *handle)
    }

    /// The key of a session's operation.
    pub(crate) fn key(&self, session: CK_SESSION_HANDLE, operation: Operation) -> Option<Key> {
        let keys = &self.0.get(&session)?.keys;
        keys.iter().find(|(of, _)| *of == operation).map(|(_, key)| *key)
    }

    /// Closes all sessions of a slot behind the program's back. Answers how many.
    pub(crate) fn kill_all(&mut self, slot: CK_SLOT_ID) -> usize {
        let living = self.living(slot);
        if living > 0
            && let Ok(behind) = behind()
            && let Some(close) = behind.own.C_CloseAllSessions
        {
            // SAFETY: takes a number; one that is no slot is answered by an error.
            gate::alone(|| unsafe { close(slot) });
        }
        self.0.values_mut().filter(|session| session.slot == slot).for_each(|session| session.is_dead = true);
        living
    }

    /// Closes one session behind the program's back.
    pub(crate) fn kill(&mut self, handle: CK_SESSION_HANDLE) {
        if let Ok(behind) = behind()
            && let Some(close) = behind.own.C_CloseSession
        {
            // SAFETY: takes a number; one that is no session is answered by an error.
            gate::alone(|| unsafe { close(handle) });
        }
        if let Some(session) = self.get(handle) {
            session.is_dead = true;
        }
    }
}

/// Takes note of a call that the module behind was given, with what it answered.
pub(crate) fn note(function: Function, words: &Words, code: CK_RV) {
    let first = words.number(0);
    if function == Function::C_CloseSession && code != CKR_OK {
        // Its end is an error if it died before.
        sessions().0.retain(|handle, session| *handle != first || !session.is_dead);
    }
    if code != CKR_OK {
        return;
    }
    match function {
        Function::C_OpenSession => {
            // SAFETY: it was opened, so its handle was written there.
            let Some(handle) = (unsafe { words.pointer::<CK_SESSION_HANDLE>(4).as_ref() }) else { return };
            let session = Session {
                slot: first,
                is_dead: false,
                last_used: Instant::now(),
                search: Search::default(),
                keys: Vec::new(),
            };
            sessions().0.insert(*handle, session);
        }
        Function::C_CloseSession => {
            sessions().0.remove(&first);
        }
        Function::C_CloseAllSessions => sessions().0.retain(|_, session| session.slot != first),
        Function::C_Finalize => sessions().0.clear(),
        Function::C_FindObjectsInit | Function::C_FindObjectsFinal => {
            if let Some(session) = sessions().get(first) {
                session.search = Search::default();
            }
        }
        _ => {
            if let Some(operation) = function.shape().begins {
                begin(first, operation, words);
            }
        }
    }
}

fn begin(session: CK_SESSION_HANDLE, operation: Operation, words: &Words) {
    // SAFETY: the functions that begin an operation have its mechanism there, or null.
    let mechanism = unsafe { words.pointer::<CK_MECHANISM>(1).as_ref() }.map_or(0, |mechanism| mechanism.mechanism);
    let key = Key { handle: words.number(2), mechanism };
    if let Some(session) = sessions().get(session) {
        session.keys.retain(|(of, _)| *of != operation);
        if operation != Operation::Digest {
            session.keys.push((operation, key));
        }
    }
}

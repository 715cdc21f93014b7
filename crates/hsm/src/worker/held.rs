//! The token as all threads of a worker share it: one login, one map of key handles.

use super::fault::Fault;
use super::latch::PinLatch;
use crate::{HsmErrorKind, Pin};
use chancery_model::{KeyPurpose, TokenObjectId};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Label of the private object whose absence tells a lost login from a missing key.
const SENTINEL_LABEL: &str = "chancery-sentinel";

/// Handles that one C_FindObjects asks for.
const SEARCH_CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);

/// The classes of keys that are used, and for what; a public key is only read.
const USED: [(ObjectClass, KeyPurpose); 2] =
    [(ObjectClass::PRIVATE_KEY, KeyPurpose::Signature), (ObjectClass::SECRET_KEY, KeyPurpose::Mac)];

/// Where the private or secret key with one CKA_ID is.
#[derive(Debug, Clone, Copy)]
enum Place {
    One(ObjectHandle, KeyPurpose),
    /// More than one, as the token said then.
    Several(Instant),
}

/// For so long a token that showed several keys under one id is believed, and not searched again: whoever signs with that
/// key is refused at once, and within a second of the end of the trouble he no longer is.
const BELIEVED: Duration = Duration::from_secs(1);

/// An open, logged-in token.
#[derive(Debug)]
pub(super) struct Held {
    pkcs11: Pkcs11,
    slot: Slot,
    pin: Pin,
    latch: PinLatch,
    /// The next login is tried although the PIN was refused before: an operator said so.
    clear_latch: AtomicBool,
    /// Login belongs to the application and ends with its last session: this one stays open and does nothing else.
    /// Its mutex makes login single-flight.
    anchor: Mutex<Option<Session>>,
    /// Private and secret keys by CKA_ID, read once after each login: no search on the way of a signature.
    keys: RwLock<HashMap<TokenObjectId, Place>>,
    has_sentinel: AtomicBool,
    sessions: AtomicU64,
    /// Changes with each login, under the anchor's mutex.
    logins: AtomicU64,
}

impl Held {
    /// Opens the anchor session, logs in, and reads which keys there are.
    /// With `clear_latch` the first login is tried whatever the latch says.
    pub(super) fn open(
        pkcs11: Pkcs11,
        slot: Slot,
        pin: Pin,
        latch: PinLatch,
        clear_latch: bool,
    ) -> Result<Self, Fault> {
        let held = Self {
            pkcs11,
            slot,
            pin,
            latch,
            clear_latch: AtomicBool::new(clear_latch),
            anchor: Mutex::new(None),
            keys: RwLock::new(HashMap::new()),
            has_sentinel: AtomicBool::new(false),
            sessions: AtomicU64::new(0),
            logins: AtomicU64::new(0),
        };
        held.ensure_login()?;
        Ok(held)
    }

    /// A session for reading and signing.
    pub(super) fn open_session(&self) -> Result<Session, Fault> {
        self.count(self.pkcs11.open_ro_session(self.slot))
    }

    /// A session that can also make and destroy objects of the token.
    pub(super) fn open_writing_session(&self) -> Result<Session, Fault> {
        self.count(self.pkcs11.open_rw_session(self.slot))
    }

    fn count(&self, opened: Result<Session, Error>) -> Result<Session, Fault> {
        let session = opened.map_err(|error| Fault::pkcs11("opening a session", &error).of_the_token())?;
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(session)
    }

    /// Ends a session that came from here.
    pub(super) fn close(&self, session: Session) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        // Closing one that the token has ended already fails, and that is fine.
        drop(session);
    }

    /// Sessions that are open, the anchor included.
    pub(super) fn sessions_open(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Makes sure that the token knows us. One thread at a time; the others find the work done.
    pub(super) fn ensure_login(&self) -> Result<(), Fault> {
        let mut anchor = self.lock_anchor();
        if let Some(session) = anchor.as_ref() {
            match session.get_session_info() {
                Ok(info) if is_user(info.session_state()) => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    // The token has dropped it, and with the last session every login.
                    if let Some(dead) = anchor.take() {
                        self.close(dead);
                    }
                }
            }
        }
        let session = match anchor.take() {
            Some(session) => session,
            None => self.open_session()?,
        };
        let session = anchor.insert(session);
        let logged_in = self.login(session);
        self.logins.fetch_add(1, Ordering::SeqCst);
        logged_in?;
        self.load_keys(session)
    }

    fn login(&self, session: &Session) -> Result<(), Fault> {
        let clearing = self.clear_latch.swap(false, Ordering::SeqCst);
        if !clearing {
            self.latch.check()?;
        }
        let pin = AuthPin::from(self.pin.expose());
        match session.login(UserType::User, Some(&pin)) {
            // Only now: whatever else happens to this login, the next one needs another word of the operator.
            Ok(()) if clearing => self.latch.release(),
            // Already logged in is success for a token that is ours alone; it says nothing about the PIN.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let fault = Fault::pkcs11("logging in", &error).of_the_token();
                if fault.kind == HsmErrorKind::PinLatched { Err(self.latch.engage(&fault)) } else { Err(fault) }
            }
        }
    }

    fn load_keys(&self, session: &Session) -> Result<(), Fault> {
        let failed = |error: &Error| Fault::pkcs11("listing private and secret keys", error).of_the_token();
        let mut found = HashMap::new();
        for (class, purpose) in USED {
            let template = [Attribute::Class(class), Attribute::Token(true)];
            for handle in search(session, &template).map_err(|error| failed(&error))? {
                let attributes =
                    session.get_attributes(handle, &[AttributeType::Id]).map_err(|error| failed(&error))?;
                let Some(Attribute::Id(id)) = attributes.first() else { continue };
                // Neither made by us nor adopted: by such an id nobody asks for it.
                let Ok(id) = TokenObjectId::try_from(id.as_slice()) else { continue };
                found
                    .entry(id)
                    .and_modify(|place| *place = Place::Several(Instant::now()))
                    .or_insert(Place::One(handle, purpose));
            }
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Finds the sentinel, or makes it. A token that takes no data objects does without.
    pub(super) fn ensure_sentinel(&self, writing: &Session) -> Result<(), Fault> {
        let there = self.sees_sentinel(writing)? || {
            let template = [
                Attribute::Class(ObjectClass::DATA),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Label(SENTINEL_LABEL.into()),
                Attribute::Application(b"chancery".to_vec()),
                Attribute::Value(b"Seen only after login. Tells a lost login from a missing key.".to_vec()),
            ];
            writing.create_object(&template).is_ok()
        };
        self.has_sentinel.store(there, Ordering::Relaxed);
        Ok(())
    }

    fn sees_sentinel(&self, session: &Session) -> Result<bool, Fault> {
        let template = [Attribute::Class(ObjectClass::DATA), Attribute::Label(SENTINEL_LABEL.into())];
        let found = search(session, &template)
            .map_err(|error| Fault::pkcs11("looking for the sentinel", &error).of_the_token())?;
        Ok(!found.is_empty())
    }

    /// The handle of a private key (for signatures) or a secret (for MACs), from memory; from the token only if it is
    /// not known.
    pub(super) fn key(
        &self,
        session: &Session,
        id: &TokenObjectId,
        purpose: KeyPurpose,
    ) -> Result<ObjectHandle, Fault> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        let (handle, found) = match known {
            Some(Place::One(handle, found)) => (handle, found),
            Some(Place::Several(seen)) if seen.elapsed() < BELIEVED => return Err(ambiguous(id)),
            Some(Place::Several(_)) | None => self.locate(session, id)?,
        };
        if found != purpose {
            // Not for the token to say: SoftHSM's answer to a signature with a secret is CKR_GENERAL_ERROR.
            let message = match found {
                KeyPurpose::Signature => "is a private key and makes no MACs",
                KeyPurpose::Mac => "is a secret and makes no signatures",
            };
            return Err(Fault::new(HsmErrorKind::Configuration, format!("the key with CKA_ID {id} {message}")));
        }
        Ok(handle)
    }

    /// Finds a private or secret key in the token by its CKA_ID, and tells a missing key from a lost login.
    pub(super) fn locate(&self, session: &Session, id: &TokenObjectId) -> Result<(ObjectHandle, KeyPurpose), Fault> {
        self.forget(id);
        let mut since = self.logins();
        if let Some(found) = self.search_key(session, id)? {
            return Ok(found);
        }
        // Logged out, a token shows an empty list and no error.
        self.ensure_login()?;
        if self.logins() != since {
            since = self.logins();
            if let Some(found) = self.search_key(session, id)? {
                return Ok(found);
            }
        }
        self.require_whole(session, since)?;
        Err(Fault::new(
            HsmErrorKind::KeyNotFound,
            format!(
                "the token holds no private or secret key with CKA_ID {id}, though it is logged in and shows its other \
                 objects"
            ),
        ))
    }

    /// Which login holds now, for [`Held::require_whole`]. One that is under way counts when it has come to its end.
    pub(super) fn logins(&self) -> u64 {
        self.logins.load(Ordering::SeqCst)
    }

    /// Fails where what the token has listed since the login `since` is no evidence of anything: it shows none of its
    /// private objects although the session says that it is logged in, or it was logged out for a while, in which another
    /// thread logged in again.
    pub(super) fn require_whole(&self, session: &Session, since: u64) -> Result<(), Fault> {
        let whole = !self.has_sentinel.load(Ordering::Relaxed) || self.sees_sentinel(session)?;
        if !whole || !self.logged_in(session)? {
            let message = "the token shows none of its private objects: its login is lost, or its storage was replaced";
            return Err(Fault::new(HsmErrorKind::LoginLost, message).replacing().retrying());
        }
        // Waits for whoever is logging in: his login takes effect before it is counted.
        let _in_order = self.lock_anchor();
        if self.logins() == since {
            return Ok(());
        }
        let message = "the token had lost its login while its objects were listed; it is logged in again";
        Err(Fault::new(HsmErrorKind::LoginLost, message).retrying())
    }

    fn search_key(&self, session: &Session, id: &TokenObjectId) -> Result<Option<(ObjectHandle, KeyPurpose)>, Fault> {
        let mut found = Vec::new();
        for (class, purpose) in USED {
            let template = [Attribute::Class(class), Attribute::Id(id.as_bytes().to_vec())];
            // A search that fails does not say that there is no such key.
            let handles = search(session, &template)
                .map_err(|error| Fault::pkcs11("looking for a key", &error).of_the_token())?;
            found.extend(handles.into_iter().map(|handle| (handle, purpose)));
        }
        match found.as_slice() {
            [] => Ok(None),
            [(handle, purpose)] => {
                self.remember(*id, *handle, *purpose);
                Ok(Some((*handle, *purpose)))
            }
            [_, _, ..] => {
                self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(*id, Place::Several(Instant::now()));
                Err(ambiguous(id))
            }
        }
    }

    fn logged_in(&self, session: &Session) -> Result<bool, Fault> {
        let info = session
            .get_session_info()
            .map_err(|error| Fault::pkcs11("reading the session's state", &error).of_the_token())?;
        Ok(is_user(info.session_state()))
    }

    /// Notes where a new key is.
    pub(super) fn remember(&self, id: TokenObjectId, handle: ObjectHandle, purpose: KeyPurpose) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(id, Place::One(handle, purpose));
    }

    /// Forgets where a key was.
    pub(super) fn forget(&self, id: &TokenObjectId) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Ends the anchor session; the last one, if all lanes are gone.
    pub(super) fn release(&self) {
        if let Some(session) = self.lock_anchor().take() {
            self.close(session);
        }
    }

    fn lock_anchor(&self) -> MutexGuard<'_, Option<Session>> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn is_user(state: SessionState) -> bool {
    matches!(state, SessionState::RoUser | SessionState::RwUser)
}

fn ambiguous(id: &TokenObjectId) -> Fault {
    Fault::new(
        HsmErrorKind::KeyAmbiguous,
        format!("more than one key in the token has CKA_ID {id}: nothing is signed with any of them"),
    )
}

/// All objects that fit a template, many at a time.
pub(super) fn search(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Error> {
    session.iter_objects_with_cache_size(template, SEARCH_CHUNK)?.collect()
}

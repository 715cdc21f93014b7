//! Making tokens, making them anew, changing their PINs, and looking at what a module shows: what a person does with a
//! token while no service holds it. Each in a process of its own and, but for looking, under the token's lock.

use crate::token::launch;
use crate::wire::{ChangePin, Initialise, ListSlots, Reinitialise, Started, Task};
use crate::{HsmError, Pin, START_PATIENCE, WorkerCommand};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A token to be made.
#[derive(Debug, Clone)]
pub struct InitialiseToken {
    /// The PKCS#11 shared library.
    pub module: PathBuf,
    /// Environment of the process that makes it, for example `SOFTHSM2_CONF`.
    pub module_environment: BTreeMap<String, String>,
    /// Directory of locks, as in [`crate::TokenSettings::lock_dir`].
    pub lock_dir: PathBuf,
    /// Label of the new token: 1 to 32 bytes, and no token has it yet.
    pub label: String,
    /// Number of the slot to make it in, as [`list_slots`] tells it. Where several slots are free, it must be said; a slot
    /// whose token is initialised is never taken.
    pub slot: Option<u64>,
    /// PIN of the security officer.
    pub so_pin: Pin,
    /// PIN of the user.
    pub user_pin: Pin,
    /// Whether the module's storage was made a moment ago for this token alone, so that no token can be overlooked there:
    /// one look is then enough, where several cost a tenth of a second. False where in doubt.
    pub storage_is_new: bool,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialisedToken {
    /// Its label.
    pub label: String,
    /// The serial number that the module gave it.
    pub serial: String,
}

/// Makes a token in an uninitialised slot, in a process of its own and under the token's lock.
///
/// Refuses a label that a token has, and one under which a token was made from the same lock directory before: many
/// processes that initialise SoftHSM at once can fail to see a token that is there.
///
/// # Errors
/// [`HsmError`] with the kind [`crate::HsmErrorKind::Configuration`] where such a token exists or existed, the label is
/// none, a PIN is shorter or longer than the token says it takes, no slot is free, or several are and none is named;
/// [`crate::HsmErrorKind::TokenAbsent`] where another process holds the lock.
pub async fn initialise_token(worker: &WorkerCommand, request: InitialiseToken) -> Result<InitialisedToken, HsmError> {
    let InitialiseToken { module, module_environment, lock_dir, label, slot, so_pin, user_pin, storage_is_new } =
        request;
    let what = format!("initialising token {label:?}");
    let task =
        Task::Initialise(Initialise { module, label: label.clone(), slot, so_pin, user_pin, lock_dir, storage_is_new });
    match launch::run_once(&what, worker, &module_environment, task, START_PATIENCE).await? {
        Started::Initialised { serial } => Ok(InitialisedToken { label, serial }),
        other => Err(other.into_error(&what)),
    }
}

/// A token to be wiped and made anew.
#[derive(Debug, Clone)]
pub struct ReinitialiseToken {
    /// The PKCS#11 shared library.
    pub module: PathBuf,
    /// Environment of the process that does it, for example `SOFTHSM2_CONF`.
    pub module_environment: BTreeMap<String, String>,
    /// Directory of locks, as in [`crate::TokenSettings::lock_dir`].
    pub lock_dir: PathBuf,
    /// Label of the token, which it keeps.
    pub label: String,
    /// Serial number of the token, where the label alone does not tell it apart.
    pub serial: Option<String>,
    /// PIN of the security officer, as it is. It stays.
    pub so_pin: Pin,
    /// The user's new PIN.
    pub user_pin: Pin,
}

/// **Destroys every object of a token** and sets the user's PIN anew, under the token's lock.
///
/// # Errors
/// [`HsmError`]: [`crate::HsmErrorKind::TokenAbsent`] where it is not seen or another process holds it;
/// [`crate::HsmErrorKind::Configuration`] where several tokens match or the user's PIN is shorter or longer than the token
/// says it takes; [`crate::HsmErrorKind::PinLatched`] where the token refused the security officer's PIN: nothing was
/// destroyed then.
pub async fn reinitialise_token(
    worker: &WorkerCommand,
    request: ReinitialiseToken,
) -> Result<InitialisedToken, HsmError> {
    let ReinitialiseToken { module, module_environment, lock_dir, label, serial, so_pin, user_pin } = request;
    let what = format!("initialising token {label:?} anew");
    let task = Task::Reinitialise(Reinitialise { module, label: label.clone(), serial, so_pin, user_pin, lock_dir });
    match launch::run_once(&what, worker, &module_environment, task, START_PATIENCE).await? {
        Started::Initialised { serial } => Ok(InitialisedToken { label, serial }),
        other => Err(other.into_error(&what)),
    }
}

/// Whose PIN is changed, and by whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PinChange {
    /// The user's, by the user.
    User {
        /// As it is.
        old: Pin,
        /// As it will be.
        new: Pin,
    },
    /// The security officer's, by the security officer.
    SecurityOfficer {
        /// As it is.
        old: Pin,
        /// As it will be.
        new: Pin,
    },
    /// The user's, by the security officer: where the user's PIN is locked or lost. Objects stay.
    Reset {
        /// PIN of the security officer.
        so_pin: Pin,
        /// The user's new PIN.
        new: Pin,
    },
}

/// A token whose PIN is to be changed.
#[derive(Debug, Clone)]
pub struct ChangeTokenPin {
    /// The PKCS#11 shared library.
    pub module: PathBuf,
    /// Environment of the process that does it, for example `SOFTHSM2_CONF`.
    pub module_environment: BTreeMap<String, String>,
    /// Directory of locks and PIN latches, as in [`crate::TokenSettings::lock_dir`].
    pub lock_dir: PathBuf,
    /// Label of the token.
    pub label: String,
    /// Serial number of the token, where the label alone does not tell it apart.
    pub serial: Option<String>,
    /// What is changed.
    pub change: PinChange,
}

/// How a PIN came to be, or came not to be, changed.
#[derive(Debug)]
pub enum PinChangeFailure {
    /// The old PIN still holds.
    Unchanged(HsmError),
    /// The token was asked and did not say what it did: one of the two holds.
    Unknown(HsmError),
}

/// Changes a PIN, under the token's lock. The new one is tried once afterwards.
///
/// A user's PIN that the token refuses is latched, as it is for a service: nothing tries it again until the latch is
/// cleared; a reset by the security officer clears it. The security officer's PIN is tried once for each call, and no latch
/// is kept of it.
///
/// # Errors
/// [`PinChangeFailure`], which tells whether the old PIN still holds.
pub async fn change_pin(worker: &WorkerCommand, request: ChangeTokenPin) -> Result<(), PinChangeFailure> {
    let ChangeTokenPin { module, module_environment, lock_dir, label, serial, change } = request;
    let what = format!("changing a PIN of token {label:?}");
    let task = Task::ChangePin(ChangePin { module, label, serial, lock_dir, change });
    match launch::run_once(&what, worker, &module_environment, task, START_PATIENCE).await {
        Ok(Started::PinChanged) => Ok(()),
        Ok(Started::PinUnknown(failure)) => {
            Err(PinChangeFailure::Unknown(HsmError::failure(&what, failure.into_failure())))
        }
        Ok(other) => Err(PinChangeFailure::Unchanged(other.into_error(&what))),
        // The worker ended or hung: it may have come as far as the change.
        Err(error) => Err(PinChangeFailure::Unknown(error)),
    }
}

/// A slot of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReport {
    /// Its number. It can be another one the next time: a token is found by its label and serial.
    pub slot: u64,
    /// What the module says of the slot.
    pub description: String,
    /// The token in it.
    pub token: SlotToken,
}

/// What is in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotToken {
    /// Nothing.
    None,
    /// Something that cannot be read.
    Unreadable {
        /// What the module said.
        why: String,
    },
    /// A token that nobody has initialised yet.
    Uninitialised(TokenIdentity),
    /// A token.
    Initialised {
        /// What it says of itself.
        identity: TokenIdentity,
        /// CKF_USER_PIN_INITIALIZED.
        user_pin_is_set: bool,
        /// CKF_USER_PIN_LOCKED.
        user_pin_is_locked: bool,
    },
}

/// What a token says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenIdentity {
    /// Its label; empty where it is not initialised.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Its manufacturer.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
}

/// The slots of a module and the tokens in them, in a process of its own. No token is opened and no lock is taken: a
/// service may hold any of them meanwhile. A token that cannot be read does not hide the others.
///
/// # Errors
/// [`HsmError`] where the module cannot be loaded, initialised or asked.
pub async fn list_slots(
    worker: &WorkerCommand,
    module: PathBuf,
    module_environment: &BTreeMap<String, String>,
) -> Result<Vec<SlotReport>, HsmError> {
    let what = format!("listing the slots of {}", module.display());
    match launch::run_once(&what, worker, module_environment, Task::ListSlots(ListSlots { module }), START_PATIENCE)
        .await?
    {
        Started::Slots(slots) => Ok(slots),
        other => Err(other.into_error(&what)),
    }
}

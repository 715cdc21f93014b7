//! Calls into the module behind run side by side; what ends sessions and logins behind the program's back runs alone.
//!
//! A device that loses its sessions does so while other threads are in the midst of their calls, and those fail. The memory
//! of the program is none of its business. A module in software is both: SoftHSM 2.6.1 frees a session that another thread's
//! C_Sign still works with, and what follows is a crash, a hang or a wrong answer that no rule asked for.

use super::thunk::Words;
use crate::function::Function;
use cryptoki_sys::CK_RV;
use std::sync::{PoisonError, RwLock};

/// Read by who calls, written by who ends sessions. Never asked for while it is held, nor held where rules or the list of
/// sessions are asked for.
static GATE: RwLock<()> = RwLock::new(());

/// Makes one call beside others.
pub(super) fn beside_others<T>(call: impl FnOnce() -> T) -> T {
    let _open = GATE.read().unwrap_or_else(PoisonError::into_inner);
    call()
}

/// The same for a call of the program. One that waits for events is not waited for.
pub(super) fn pass(function: Function, words: &Words, call: impl FnOnce(&Words) -> CK_RV) -> CK_RV {
    if function == Function::C_WaitForSlotEvent { call(words) } else { beside_others(|| call(words)) }
}

/// Makes one call when all others have ended, and before any other begins.
pub(super) fn alone<T>(call: impl FnOnce() -> T) -> T {
    let _closed = GATE.write().unwrap_or_else(PoisonError::into_inner);
    call()
}

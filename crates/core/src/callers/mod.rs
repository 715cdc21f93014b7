//! Callers: who may ask at all, and how they are registered, changed, suspended and resumed.

mod authenticate;
mod change;
mod import;
mod lockout;
mod read;
mod register;
mod standing;
mod state;
mod words;

pub use authenticate::{Bearer, Unidentified};
pub use change::{CallerChange, LimitChanges};
pub(crate) use import::take_callers;
pub use import::{BootstrapError, CallerDeclaration, bootstrap};
pub use register::NewCaller;
pub(crate) use standing::Unfit;
pub use state::SuspendedCaller;

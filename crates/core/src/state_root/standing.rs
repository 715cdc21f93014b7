//! Whether the state that the service stands on has been checked.

use chancery_model::Action;

/// Whether the state is the one that was sealed, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateStanding {
    /// It is, and each change is sealed.
    Checked,
    /// Nobody knows yet: the token that the seal is checked with does not answer. Nothing is decided by it but what brings
    /// the token back.
    Unchecked {
        /// What the token said; for the log, not for callers.
        why: String,
    },
    /// The configuration wants no seal.
    NotSealed,
}

impl StateStanding {
    /// Whether calls may be decided by it.
    #[must_use]
    pub const fn decides(&self) -> bool {
        matches!(self, Self::Checked | Self::NotSealed)
    }
}

/// What may be decided by a state that nobody has checked: looking at the tokens, and having one that is latched try its
/// PIN again. Neither signs anything, and without them there might be no way to check it.
pub(crate) const fn needs_no_checked_state(action: Action) -> bool {
    matches!(action, Action::ListTokens | Action::GetToken | Action::ClearPinLatch)
}

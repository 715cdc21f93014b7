//! What the rules of a key ask for at a time. Nothing is done here.

use chancery_model::{KeyState, Step, Timestamp, Transition};

use crate::rules::{of_seconds, rotation_set_back};
use crate::state::{KeyEntry, Snapshot};

/// What a rule asks for. The number is that of the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Due {
    /// A plan that a wrong clock made is corrected.
    CorrectPlan,
    /// A PRE_ACTIVE version becomes the primary one.
    TakeOver(u32),
    /// The next version is made: to take over later, or at once.
    MakeNext,
    /// A version has signed for as long as it may.
    Deactivate(u32),
    /// A version's grace period is over.
    Destroy(u32),
}

impl Due {
    /// A word for it, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CorrectPlan => "correct-plan",
            Self::TakeOver(_) => "take-over",
            Self::MakeNext => "make-next",
            Self::Deactivate(_) => "deactivate",
            Self::Destroy(_) => "destroy",
        }
    }

    /// Whether it waits while the key's ring is frozen: what makes keys, lets them sign, or destroys them. What ends their
    /// signing does not.
    const fn waits_while_frozen(self) -> bool {
        match self {
            Self::TakeOver(_) | Self::MakeNext | Self::Destroy(_) => true,
            Self::CorrectPlan | Self::Deactivate(_) => false,
        }
    }
}

/// When the next rotation should be, where a wrong clock has planned it or the taking over of a version.
pub(super) fn set_back(key: &KeyEntry, now: Timestamp) -> Option<Timestamp> {
    let take_over = key.planned().and_then(|version| version.life.activation);
    rotation_set_back(&key.rules, take_over, now)
}

/// When a version that is made now is to take over; `None`: at once. One that is made late is published for as long all the
/// same, unless the key would have no version that signs until then.
pub(super) fn planned_activation(key: &KeyEntry, now: Timestamp) -> Option<Timestamp> {
    let published = now.after(of_seconds(key.rules.publish_ahead_seconds?));
    let at = key.rules.next_rotation.map_or(published, |planned| planned.max(published));
    let primary = key.primary().filter(|version| version.state.may_sign())?;
    let end = key.rules.signing_period_seconds.and_then(|period| Some(primary.activated()?.after(of_seconds(period))));
    end.is_none_or(|end| end > at).then_some(at)
}

/// Whether `due` is what the key's rules ask for.
pub(crate) fn is_due(snapshot: &Snapshot, key: &KeyEntry, due: Due, now: Timestamp) -> bool {
    all_due(snapshot, key, now).any(|one| one == due)
}

/// Everything that the key's rules ask for. New versions come before the end of old ones, so that there is always one. In a
/// frozen ring most of it waits, and is still due when the ring is unfrozen.
pub(super) fn all_due(snapshot: &Snapshot, key: &KeyEntry, now: Timestamp) -> impl Iterator<Item = Due> {
    let frozen = snapshot.is_frozen(&key.name.ring);
    let correction = set_back(key, now).map(|_| Due::CorrectPlan);
    let waiting = key.waiting();
    // A plan outlives its rule where the version was just being made when the rule was taken away.
    let ruled = key.rules.rotation_period_seconds.is_some();
    let take_over = waiting.filter(|version| ruled && version.life.activation.is_some_and(|at| at <= now));
    let next = key.rules.next_rotation.filter(|next| {
        let ahead = of_seconds(key.rules.publish_ahead_seconds.unwrap_or(0));
        let being_made = key.versions.values().any(|version| version.state == KeyState::PendingGeneration);
        now.after(ahead) >= *next && waiting.is_none() && !being_made
    });
    let ends = key.versions.values().filter_map(move |version| {
        let number = version.name.version;
        if let Some(period) = key.rules.signing_period_seconds
            && version.state.step(Transition::Deactivate) == Step::To(KeyState::Deactivated)
            && version.activated().is_some_and(|since| since.after(of_seconds(period)) <= now)
        {
            return Some(Due::Deactivate(number));
        }
        let to_be_destroyed = version.state == KeyState::DestroyScheduled
            && version.life.before_destruction.is_some()
            && !key.rules.deletion_protection
            && version.life.destroy_at.is_some_and(|at| at <= now);
        to_be_destroyed.then_some(Due::Destroy(number))
    });
    let first = [correction, take_over.map(|version| Due::TakeOver(version.name.version)), next.map(|_| Due::MakeNext)];
    first.into_iter().flatten().chain(ends).filter(move |due| !(frozen && due.waits_while_frozen()))
}

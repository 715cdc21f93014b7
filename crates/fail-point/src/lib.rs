//! The steps at which tests kill the service.
//!
//! Between the decision on a call and its answer there are steps at which a crash hurts in its own way. Each has a name here
//! and one line where it happens: `FailPoint::IntentCommitted.pass()`. In a build of tests, where the environment variable
//! [`FAIL_POINT_VARIABLE`] names a step and a pass (`intent-committed:3`), the process kills itself by SIGKILL when it comes
//! past that step for that time: no unwinding, no destructor, no last word.
//!
//! In scope: the names, and dying on time. Out of scope: what must hold afterwards (`tests/crash`).
//!
//! **Nothing of this is shipped.** Without the feature `armed` [`FailPoint::pass`] has no body, and no name of a step is
//! referred to by anything. The feature is a dev-dependency's of `chancery-tests`: cargo gives those only to builds of
//! tests. And a build without debug assertions (`--release`) has nothing of it, whoever asks for the feature.

#[cfg(all(feature = "armed", debug_assertions))]
mod armed;

/// Whether this build can be killed at a step.
pub const ARMED: bool = cfg!(all(feature = "armed", debug_assertions));

/// Names the step and the pass, counted from 1, at which the process kills itself: `intent-committed:3`.
pub const FAIL_POINT_VARIABLE: &str = "CHANCERY_FAIL_POINT";

/// The steps.
macro_rules! fail_points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A step at which a test may kill the service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FailPoint {
            $($(#[doc = $doc])+ $point,)+
        }

        impl FailPoint {
            /// All of them, in the order in which a call meets them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// What [`FAIL_POINT_VARIABLE`] calls it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name),+
                }
            }
        }
    };
}

fail_points! {
    /// A call is allowed; its intent is not handed in yet.
    IntentDecided = "intent-decided",
    /// An intent is written in its transaction, which is not committed yet.
    IntentWritten = "intent-written",
    /// An intent is durable; who waits for it was not told yet.
    IntentCommitted = "intent-committed",
    /// An intent is durable and its caller was told; the token is not asked yet.
    TokenUnasked = "token-unasked",
    /// The token has answered; the answer is not verified yet.
    TokenAnswered = "token-answered",
    /// The answer is verified; its outcome is not handed in yet.
    AnswerVerified = "answer-verified",
    /// The outcome is handed in; it need not be written yet.
    OutcomeQueued = "outcome-queued",
    /// An outcome is written in its transaction, which is not committed yet.
    OutcomeWritten = "outcome-written",
    /// An outcome is durable; its place in the queue was not given back yet.
    OutcomeCommitted = "outcome-committed",
    /// A signature or MAC is about to be handed to its connection.
    AnswerReady = "answer-ready",
    /// A change of the state is written with its record in a transaction that is not committed yet.
    ChangeWritten = "change-written",
    /// A change of the state is durable; who waits for it was not told yet.
    ChangeCommitted = "change-committed",
    /// A key version is reserved; the token is not asked for it yet.
    KeyReserved = "key-reserved",
    /// The token has made a reserved key; its version is not completed yet.
    KeyGenerated = "key-generated",
    /// A new key version is completed; who waits for it was not told yet.
    KeyCompleted = "key-completed",
    /// The destruction of a version is recorded as begun; the token is not asked yet.
    DestructionBegun = "destruction-begun",
    /// The token has destroyed a version and shows nothing of it; that is not recorded yet.
    VersionDestroyed = "version-destroyed",
    /// That one login is to be tried after a refused PIN is recorded; the token is not asked yet.
    LatchClearing = "latch-clearing",
    /// The token was asked to try one login; how it ended is not recorded yet.
    LoginTried = "login-tried",
    /// Leaves are copied to the archive; that they leave the database is not recorded yet.
    LeavesCopied = "leaves-copied",
    /// The leaves of a tile are emptied in the database; those of the next one are not yet.
    LeavesEmptied = "leaves-emptied",
    /// At the first start: the token has made the secret of the state; nothing is sealed with it yet.
    StateSecretMade = "state-secret-made",
    /// At the first start: the first seal is durable; its anchor is not in its place yet.
    StateSealed = "state-sealed",
    /// At the start: what an earlier run left open is closed as unknown; its unfinished keys are not settled yet.
    OpenIntentsClosed = "open-intents-closed",
    /// At the start: the token has said what it holds of an unfinished key; nothing is done about it yet.
    UnfinishedKeyInspected = "unfinished-key-inspected",
}

impl FailPoint {
    /// The process comes past this step. Does nothing, unless a test has armed this very step.
    #[inline]
    pub fn pass(self) {
        #[cfg(all(feature = "armed", debug_assertions))]
        armed::pass(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = FailPoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), FailPoint::ALL.len());
    }

    #[test]
    fn a_step_that_nobody_armed_is_passed() {
        for point in FailPoint::ALL {
            point.pass();
        }
    }
}

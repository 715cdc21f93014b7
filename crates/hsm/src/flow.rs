//! Whose turn it is.

/// Calls that are served in one turn with each other, and take turns with those of other flows. What a flow stands for is not
/// known here: whoever asks gives the same number to what belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow(u128);

impl Flow {
    /// What is asked on nobody's behalf.
    pub const OWN: Self = Self(0);

    /// The flow with this number.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }
}

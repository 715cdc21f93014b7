//! What an expression can come to when not all that it asks for is known.

/// Some of true, false and failure: at least those that can happen. Cedar stops at the first part of `&&` and `||` that
/// decides, and so does this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes(u8);

impl Outcomes {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const TRUE: Self = Self(1);
    pub(crate) const FALSE: Self = Self(2);
    pub(crate) const FAILURE: Self = Self(4);

    /// Either this or that.
    pub(crate) const fn or_else(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this can happen.
    pub(crate) const fn can_be(self, outcome: Self) -> bool {
        self.0 & outcome.0 != 0
    }

    /// What happens after this where it is `outcome`.
    const fn then(self, outcome: Self, next: Self) -> Self {
        if self.can_be(outcome) { next } else { Self::NONE }
    }

    /// Of these only what ends the evaluation at once.
    const fn only(self, outcomes: Self) -> Self {
        Self(self.0 & outcomes.0)
    }

    /// `!this`.
    pub(crate) const fn negated(self) -> Self {
        self.then(Self::TRUE, Self::FALSE).or_else(self.then(Self::FALSE, Self::TRUE)).or_else(self.only(Self::FAILURE))
    }

    /// `this && right`.
    pub(crate) const fn and(self, right: Self) -> Self {
        self.only(Self::FALSE.or_else(Self::FAILURE)).or_else(self.then(Self::TRUE, right))
    }

    /// `this || right`.
    pub(crate) const fn or(self, right: Self) -> Self {
        self.only(Self::TRUE.or_else(Self::FAILURE)).or_else(self.then(Self::FALSE, right))
    }

    /// `if this then yes else no`.
    pub(crate) const fn choose(self, yes: Self, no: Self) -> Self {
        self.only(Self::FAILURE).or_else(self.then(Self::TRUE, yes)).or_else(self.then(Self::FALSE, no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Outcomes; 3] = [Outcomes::TRUE, Outcomes::FALSE, Outcomes::FAILURE];

    /// Cedar's own `&&`, on one outcome each.
    fn cedar_and(left: Outcomes, right: Outcomes) -> Outcomes {
        if left == Outcomes::TRUE { right } else { left }
    }

    fn cedar_or(left: Outcomes, right: Outcomes) -> Outcomes {
        if left == Outcomes::FALSE { right } else { left }
    }

    #[test]
    fn an_operator_on_sets_is_the_operator_on_each_of_their_members() {
        let sets = (1..8).map(Outcomes);
        for (left, right) in sets.clone().flat_map(|left| sets.clone().map(move |right| (left, right))) {
            let members = |set: Outcomes| ALL.into_iter().filter(move |one| set.can_be(*one));
            let each = |operator: fn(Outcomes, Outcomes) -> Outcomes| {
                members(left)
                    .flat_map(|l| members(right).map(move |r| operator(l, r)))
                    .fold(Outcomes::NONE, Outcomes::or_else)
            };
            assert_eq!(left.and(right), each(cedar_and), "{left:?} && {right:?}");
            assert_eq!(left.or(right), each(cedar_or), "{left:?} || {right:?}");
            for condition in ALL {
                let expected = match condition {
                    Outcomes::TRUE => left,
                    Outcomes::FALSE => right,
                    _ => Outcomes::FAILURE,
                };
                assert_eq!(condition.choose(left, right), expected);
            }
        }
        assert_eq!(ALL.map(Outcomes::negated), [Outcomes::FALSE, Outcomes::TRUE, Outcomes::FAILURE]);
    }
}

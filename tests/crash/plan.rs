//! What happens in which round, drawn from a seed.

use std::time::Duration;

use chancery_fail_point::FailPoint;

/// A sequence of numbers that is the same for the same seed: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Another sequence for each part of a run.
    pub fn of(seed: u64, part: usize) -> Self {
        let mut first = Self(seed);
        Self(first.next() ^ Self(part as u64).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is small: that the last ones are a little rarer does not matter.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A whole number of milliseconds below `end`.
    pub fn milliseconds(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }

    /// A sequence for somebody else.
    pub fn another(&mut self) -> Self {
        Self(self.next())
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            let other = usize::try_from(self.below(place as u64 + 1)).unwrap();
            items.swap(place, other);
        }
    }
}

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// The service kills itself when it comes past a step for that time.
    At(FailPoint, u32),
    /// It is killed so long after the load began.
    UnderLoad(Duration),
    /// It is killed so long after it was started, before or after it serves.
    Starting(Duration),
}

/// Longer than a start takes on a quiet machine.
const LONGEST_START_MS: u64 = 500;
/// Enough for some hundred calls.
const LONGEST_LOAD_MS: u64 = 300;

/// The kills of a campaign: all points in turns, each time in another order, and other kills in between.
pub fn kills(chance: &mut Chance, rounds: usize) -> Vec<Kill> {
    let mut kills = Vec::with_capacity(rounds + FailPoint::ALL.len());
    while kills.len() < rounds {
        let mut points: Vec<_> = under_load().collect();
        chance.shuffle(&mut points);
        for (place, point) in points.into_iter().enumerate() {
            if point == FailPoint::UnfinishedKeyInspected {
                // It takes an unfinished key to come there.
                let unfinished = [FailPoint::KeyReserved, FailPoint::KeyGenerated][usize::from(chance.below(2) == 1)];
                kills.push(at(unfinished, chance));
            }
            kills.push(at(point, chance));
            match place % 8 {
                2 | 6 => kills.push(Kill::UnderLoad(chance.milliseconds(LONGEST_LOAD_MS))),
                4 => kills.push(Kill::Starting(chance.milliseconds(LONGEST_START_MS))),
                _ => {}
            }
        }
    }
    kills.truncate(rounds);
    kills
}

/// Dies at a point when it comes past it for a time that a round reaches.
fn at(point: FailPoint, chance: &mut Chance) -> Kill {
    // The token also answers what the service asks for itself: twice at the start, and then for each checkpoint. It is calls
    // that are to meet the kill, and not the checks before them.
    let least = if point == FailPoint::TokenAnswered { 10 } else { 1 };
    let most = match point {
        FailPoint::OpenIntentsClosed | FailPoint::UnfinishedKeyInspected => 1,
        FailPoint::KeyReserved | FailPoint::KeyGenerated | FailPoint::KeyCompleted => 2,
        FailPoint::ChangeWritten | FailPoint::ChangeCommitted => 5,
        FailPoint::IntentWritten
        | FailPoint::IntentCommitted
        | FailPoint::OutcomeWritten
        | FailPoint::OutcomeCommitted => 20,
        FailPoint::IntentDecided
        | FailPoint::TokenUnasked
        | FailPoint::TokenAnswered
        | FailPoint::AnswerVerified
        | FailPoint::OutcomeQueued
        | FailPoint::AnswerReady => 60,
        FailPoint::DestructionBegun
        | FailPoint::VersionDestroyed
        | FailPoint::LatchClearing
        | FailPoint::LoginTried
        | FailPoint::LeavesCopied
        | FailPoint::LeavesEmptied
        | FailPoint::StateSecretMade
        | FailPoint::StateSealed => unreachable!("no load comes there: see rare.rs"),
    };
    Kill::At(point, u32::try_from(chance.below(most - least + 1) + least).unwrap())
}

/// The points that a service under load comes past. The others have tests of their own (`rare.rs`).
pub fn under_load() -> impl Iterator<Item = FailPoint> {
    FailPoint::ALL.iter().copied().filter(|point| !crate::rare::POINTS.contains(point))
}

/// Whether a point is come past only by making keys.
pub const fn needs_a_new_key(point: FailPoint) -> bool {
    matches!(point, FailPoint::KeyReserved | FailPoint::KeyGenerated | FailPoint::KeyCompleted)
}

#[test]
fn a_hundred_rounds_kill_at_each_point_at_other_times_and_the_same_seed_repeats_them() {
    let planned = kills(&mut Chance::of(7, 1), 100);
    assert_eq!(planned, kills(&mut Chance::of(7, 1), 100));
    assert_ne!(planned, kills(&mut Chance::of(7, 2), 100));
    assert_ne!(planned, kills(&mut Chance::of(8, 1), 100));
    for point in under_load() {
        let count = planned.iter().filter(|kill| matches!(kill, Kill::At(at, _) if *at == point)).count();
        assert!(count >= 3, "{count} of {}", point.name());
    }
    assert!(planned.iter().any(|kill| matches!(kill, Kill::UnderLoad(_))));
    assert!(planned.iter().any(|kill| matches!(kill, Kill::Starting(_))));
    for pair in planned.windows(2) {
        if let Kill::At(FailPoint::UnfinishedKeyInspected, _) = pair[1] {
            assert!(matches!(pair[0], Kill::At(FailPoint::KeyReserved | FailPoint::KeyGenerated, _)), "{pair:?}");
        }
    }
}

//! The rules of keys: what they may be, and when they next ask for something.

use std::time::Duration;

use chancery_model::{KeyRules, Pace, Timestamp, misleads};

use crate::Error;

/// The longest period: 3650 days.
const LONGEST_PERIOD: Duration = Duration::from_secs(3650 * 24 * 3600);
/// The shortest one: a token that makes a key each minute is out of order, and so are those who wrote the rule. In the
/// environment `dev`, where people try things, a second.
const SHORTEST_PERIOD: Duration = Duration::from_secs(3600);
const SHORTEST_PERIOD_IN_DEV: Duration = Duration::from_secs(1);
/// The largest number of a pace: faster than any token.
const LARGEST_PACE: u32 = 1_000_000;
/// Length of the longest owner, in characters.
const MAX_OWNER_CHARACTERS: usize = 128;
/// Clocks are set right by a little all the time: a plan that lies so much farther ahead than its rule allows was made by a
/// clock that was wrong.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

/// What is asked of a key's rules. An outer `None` leaves one as it is, an inner one takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleChanges {
    /// Who answers for the key: 1 to 128 characters, none of them a control character or one that turns the direction of writing.
    pub owner: Option<Option<String>>,
    /// Whether no version of the key may be destroyed.
    pub deletion_protection: Option<bool>,
    /// How often a new version takes over: whole seconds, 1 hour (in the environment `dev` 1 second) to 3650 days.
    pub rotation_period: Option<Option<Duration>>,
    /// When the next one does, at most a period from now; a period from now where the period is new and this is not given.
    pub next_rotation: Option<Timestamp>,
    /// How long the next version is published before it takes over; less than the rotation period.
    pub publish_ahead: Option<Option<Duration>>,
    /// How long a version signs; not less than the rotation period.
    pub signing_period: Option<Option<Duration>>,
    /// How many signatures in all.
    pub max_signatures: Option<Option<u64>>,
    /// How many signatures a day (UTC).
    pub max_daily_signatures: Option<Option<u64>>,
    /// How many uses in a second.
    pub max_uses_per_second: Option<Option<u32>>,
    /// How many at once; as many as in a second where there is no number. Only with a number of uses in a second.
    pub max_burst: Option<Option<u32>>,
    /// How many under way at the same time.
    pub max_concurrent_uses: Option<Option<u32>>,
    /// Whether it signs only what its caller has signed, too. Not for MAC keys.
    pub requires_caller_signature: Option<bool>,
}

impl RuleChanges {
    /// The rules of a key after the change. `dev`: the key's ring is of the environment `dev`.
    pub(crate) fn apply(&self, before: &KeyRules, now: Timestamp, dev: bool) -> Result<KeyRules, Error> {
        let Self {
            owner,
            deletion_protection,
            rotation_period,
            next_rotation,
            publish_ahead,
            signing_period,
            max_signatures,
            max_daily_signatures,
            max_uses_per_second,
            max_burst,
            max_concurrent_uses,
            requires_caller_signature,
        } = self;
        let mut rules = before.clone();
        if let Some(owner) = owner {
            rules.owner = owner.as_ref().map(|owner| checked_owner(owner)).transpose()?;
        }
        if let Some(protected) = deletion_protection {
            rules.deletion_protection = *protected;
        }
        if let Some(required) = requires_caller_signature {
            rules.requires_caller_signature = *required;
        }
        let period = |field: &str, asked: &Option<Duration>| asked.map(|asked| seconds(field, asked, dev)).transpose();
        if let Some(asked) = rotation_period {
            rules.rotation_period_seconds = period("key.rotation_period", asked)?;
        }
        if let Some(asked) = publish_ahead {
            rules.publish_ahead_seconds = period("key.publish_ahead", asked)?;
        }
        if let Some(asked) = signing_period {
            rules.signing_period_seconds = period("key.signing_period", asked)?;
        }
        if let Some(limit) = max_signatures {
            rules.limits.total = limit.map(|limit| checked_limit("key.max_signatures", limit)).transpose()?;
        }
        if let Some(limit) = max_daily_signatures {
            rules.limits.daily = limit.map(|limit| checked_limit("key.max_daily_signatures", limit)).transpose()?;
        }
        let Pace { per_second, burst, concurrent } = rules.pace;
        rules.pace = Pace {
            per_second: max_uses_per_second.unwrap_or(per_second),
            burst: max_burst.unwrap_or(burst),
            concurrent: max_concurrent_uses.unwrap_or(concurrent),
        };
        check_pace("key", "max_concurrent_uses", rules.pace)?;
        check_periods(&rules)?;
        rules.next_rotation = self.planned_rotation(&rules, before, now, *next_rotation)?;
        Ok(rules)
    }

    fn planned_rotation(
        &self,
        rules: &KeyRules,
        before: &KeyRules,
        now: Timestamp,
        asked: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, Error> {
        let refused = |why: &str| Err(Error::invalid("key.next_rotation_time", why));
        let Some(period) = rules.rotation_period_seconds.map(of_seconds) else {
            return match asked {
                None => Ok(None),
                Some(_) => refused("needs a rotation_period; give one, or leave it out"),
            };
        };
        match asked {
            Some(at) if at > now.after(period) => refused("must not be more than one rotation_period from now"),
            Some(at) => Ok(Some(at)),
            None if rules.rotation_period_seconds == before.rotation_period_seconds => Ok(before.next_rotation),
            None => Ok(Some(now.after(period))),
        }
    }

    /// The names of the fields that differ between the two, for the record.
    pub(crate) fn differences(before: &KeyRules, after: &KeyRules) -> Vec<&'static str> {
        let KeyRules {
            owner,
            deletion_protection,
            rotation_period_seconds,
            next_rotation,
            publish_ahead_seconds,
            signing_period_seconds,
            limits,
            pace,
            requires_caller_signature,
        } = before;
        [
            ("owner", *owner != after.owner),
            ("deletion_protection", *deletion_protection != after.deletion_protection),
            ("rotation_period", *rotation_period_seconds != after.rotation_period_seconds),
            ("next_rotation_time", *next_rotation != after.next_rotation),
            ("publish_ahead", *publish_ahead_seconds != after.publish_ahead_seconds),
            ("signing_period", *signing_period_seconds != after.signing_period_seconds),
            ("max_signatures", limits.total != after.limits.total),
            ("max_daily_signatures", limits.daily != after.limits.daily),
            ("max_uses_per_second", pace.per_second != after.pace.per_second),
            ("max_burst", pace.burst != after.pace.burst),
            ("max_concurrent_uses", pace.concurrent != after.pace.concurrent),
            ("requires_caller_signature", *requires_caller_signature != after.requires_caller_signature),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

/// A period of a rule.
pub(crate) fn of_seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// When the next version takes over, once one has at `now`. Those that fell into a time without service are left out, and
/// the rhythm stays; a key that was rotated before its time has a whole period again.
pub(crate) fn rotation_after(rules: &KeyRules, now: Timestamp) -> Option<Timestamp> {
    let period = of_seconds(rules.rotation_period_seconds?);
    Some(match rules.next_rotation {
        Some(due) if due <= now => {
            let late = now.unix_micros().saturating_sub(due.unix_micros()).unsigned_abs();
            let period_micros = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
            let to_next = (late / period_micros).saturating_add(1).saturating_mul(period_micros);
            due.after(Duration::from_micros(to_next))
        }
        _ => now.after(period),
    })
}

/// The next rotation as it should be, where it, or the time at which a version is to take over, lies so far ahead that no clock
/// could have planned it but one that was wrong and has been set back.
pub(crate) fn rotation_set_back(rules: &KeyRules, take_over: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let period = of_seconds(rules.rotation_period_seconds?);
    let next = rules.next_rotation?;
    let farthest = now.after(period).after(CLOCK_TOLERANCE);
    (next.max(take_over.unwrap_or(next)) > farthest).then(|| if next > farthest { now.after(period) } else { next })
}

fn checked_owner(owner: &str) -> Result<String, Error> {
    if owner.chars().count() > MAX_OWNER_CHARACTERS || owner.chars().any(misleads) {
        let rule = format!(
            "has at most {MAX_OWNER_CHARACTERS} characters, none of them a control character or one that turns the direction of writing"
        );
        return Err(Error::invalid("key.owner", rule));
    }
    Ok(owner.to_owned())
}

fn seconds(field: &str, asked: Duration, dev: bool) -> Result<u32, Error> {
    let shortest = if dev || field == "key.publish_ahead" { SHORTEST_PERIOD_IN_DEV } else { SHORTEST_PERIOD };
    let whole = asked.subsec_nanos() == 0 && (shortest..=LONGEST_PERIOD).contains(&asked);
    u32::try_from(asked.as_secs()).ok().filter(|_| whole).ok_or_else(|| {
        let rule = format!("must be whole seconds, from {} seconds to 3650 days", shortest.as_secs());
        Error::invalid(field, rule)
    })
}

pub(crate) fn checked_limit(field: &str, limit: u64) -> Result<u64, Error> {
    let most = i64::MAX.unsigned_abs();
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::invalid(field, format!("must be from 1 to {most}; leave it out for no limit")))
}

/// What a pace keeps, a key's or a caller's.
pub(crate) fn check_pace(of: &str, concurrent: &str, pace: Pace) -> Result<(), Error> {
    let numbers = [("max_uses_per_second", pace.per_second), ("max_burst", pace.burst), (concurrent, pace.concurrent)];
    for (field, number) in numbers {
        if number.is_some_and(|number| !(1..=LARGEST_PACE).contains(&number)) {
            let rule = format!("must be from 1 to {LARGEST_PACE}; leave it out for no limit of its own");
            return Err(Error::invalid(&format!("{of}.{field}"), rule));
        }
    }
    if pace.burst.is_some() && pace.per_second.is_none() {
        let rule = "needs a max_uses_per_second; give one, or take this away, too";
        return Err(Error::invalid(&format!("{of}.max_burst"), rule));
    }
    Ok(())
}

fn check_periods(rules: &KeyRules) -> Result<(), Error> {
    let (rotation, ahead) = (rules.rotation_period_seconds, rules.publish_ahead_seconds);
    match (rotation, ahead) {
        (None, Some(_)) => {
            return Err(Error::invalid(
                "key.publish_ahead",
                "needs a rotation_period; give one, or take this away, too",
            ));
        }
        (Some(period), Some(ahead)) if ahead >= period => {
            return Err(Error::invalid("key.publish_ahead", "must be shorter than the rotation_period"));
        }
        _ => {}
    }
    if let (Some(rotation), Some(signing)) = (rotation, rules.signing_period_seconds)
        && signing < rotation
    {
        let why = "must not be shorter than the rotation_period: the key would have no version that signs";
        return Err(Error::invalid("key.signing_period", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(seconds * 1_000_000)
    }

    fn days(days: u64) -> Option<Option<Duration>> {
        Some(Some(Duration::from_secs(days * DAY)))
    }

    fn field(error: Error) -> String {
        match error {
            Error::InvalidField { field, .. } => field,
            error => panic!("{error}"),
        }
    }

    #[test]
    fn a_new_period_counts_from_now_and_an_old_one_goes_on() {
        let none = KeyRules::default();
        let monthly = RuleChanges { rotation_period: days(30), ..RuleChanges::default() };
        let rules = monthly.apply(&none, at(1_000), false).unwrap();
        assert_eq!(rules.next_rotation, Some(at(1_000).after(Duration::from_secs(30 * DAY))));
        let later = monthly.apply(&rules, at(5_000), false).unwrap();
        assert_eq!(later, rules, "the same period again changes nothing");
        let sooner = RuleChanges { next_rotation: Some(at(6_000)), ..RuleChanges::default() };
        assert_eq!(sooner.apply(&rules, at(5_000), false).unwrap().next_rotation, Some(at(6_000)));
        let off = RuleChanges { rotation_period: Some(None), ..RuleChanges::default() };
        assert_eq!(off.apply(&rules, at(5_000), false).unwrap(), none);
    }

    #[test]
    fn rules_that_contradict_each_other_are_refused() {
        let none = KeyRules::default();
        let refused = |changes: RuleChanges| field(changes.apply(&none, at(0), false).unwrap_err());
        let changes = RuleChanges::default;
        assert_eq!(refused(RuleChanges { publish_ahead: days(1), ..changes() }), "key.publish_ahead");
        let as_long = RuleChanges { rotation_period: days(2), publish_ahead: days(2), ..changes() };
        assert_eq!(refused(as_long), "key.publish_ahead");
        let gap = RuleChanges { rotation_period: days(2), signing_period: days(1), ..changes() };
        assert_eq!(refused(gap), "key.signing_period");
        assert_eq!(refused(RuleChanges { next_rotation: Some(at(1)), ..changes() }), "key.next_rotation_time");
        let far = RuleChanges { rotation_period: days(2), next_rotation: Some(at(3 * DAY as i64)), ..changes() };
        assert_eq!(refused(far), "key.next_rotation_time");
        assert_eq!(refused(RuleChanges { rotation_period: days(3651), ..changes() }), "key.rotation_period");
        let second = Some(Some(Duration::from_secs(1)));
        assert_eq!(refused(RuleChanges { rotation_period: second, ..changes() }), "key.rotation_period");
        assert!(RuleChanges { rotation_period: second, ..changes() }.apply(&none, at(0), true).is_ok());
        let fraction = Some(Some(Duration::from_millis(3_600_500)));
        assert_eq!(refused(RuleChanges { signing_period: fraction, ..changes() }), "key.signing_period");
        assert_eq!(refused(RuleChanges { max_signatures: Some(Some(0)), ..changes() }), "key.max_signatures");
        let beyond = RuleChanges { max_daily_signatures: Some(Some(u64::MAX)), ..changes() };
        assert_eq!(refused(beyond), "key.max_daily_signatures");
        let no_rate = RuleChanges { max_burst: Some(Some(1)), ..changes() };
        assert_eq!(refused(no_rate), "key.max_burst");
        let too_fast = RuleChanges { max_uses_per_second: Some(Some(1_000_001)), ..changes() };
        assert_eq!(refused(too_fast), "key.max_uses_per_second");
        let none_at_all = RuleChanges { max_concurrent_uses: Some(Some(0)), ..changes() };
        assert_eq!(refused(none_at_all), "key.max_concurrent_uses");
        let line = RuleChanges { owner: Some(Some("a\nb".to_owned())), ..changes() };
        assert_eq!(refused(line), "key.owner");
    }

    #[test]
    fn rotations_that_were_missed_are_left_out_and_the_rhythm_stays() {
        let rules = |next| KeyRules { rotation_period_seconds: Some(100), next_rotation: next, ..KeyRules::default() };
        assert_eq!(rotation_after(&rules(Some(at(1_000))), at(1_000)), Some(at(1_100)));
        assert_eq!(rotation_after(&rules(Some(at(1_000))), at(1_099)), Some(at(1_100)));
        assert_eq!(rotation_after(&rules(Some(at(1_000))), at(1_350)), Some(at(1_400)));
        assert_eq!(rotation_after(&rules(Some(at(1_000))), at(950)), Some(at(1_050)), "on demand, before its time");
        assert_eq!(rotation_after(&KeyRules::default(), at(950)), None);
    }

    #[test]
    fn a_plan_that_only_a_wrong_clock_can_have_made_is_corrected() {
        let rules =
            |next| KeyRules { rotation_period_seconds: Some(100), next_rotation: Some(next), ..KeyRules::default() };
        let set_back = |next, take_over| rotation_set_back(&rules(next), take_over, at(1_000));
        assert_eq!(set_back(at(1_100), None), None);
        assert_eq!(set_back(at(4_700), None), None, "within what clocks are set right by");
        assert_eq!(set_back(at(4_701), None), Some(at(1_100)));
        assert_eq!(set_back(at(1_050), Some(at(4_700))), None);
        assert_eq!(set_back(at(1_050), Some(at(4_701))), Some(at(1_050)), "the rotation was planned before");
        assert_eq!(set_back(at(4_701), Some(at(1_050))), Some(at(1_100)));
    }
}

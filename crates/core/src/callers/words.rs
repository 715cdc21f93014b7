//! What a record says of a registration and of a change of one: enough to see who was given what, without the rows.

use std::collections::{BTreeMap, BTreeSet};

use chancery_model::{CallerLimits, Pace, UsageLimits};
use chancery_store::{CallerRegistration, CallerRow};

/// All that a new caller has.
pub(super) fn of_registration(row: &CallerRow) -> String {
    let Some(registration) = &row.registration else { return String::new() };
    let parts = parts(registration);
    let said = parts.into_iter().filter(|(_, values)| !values.is_empty());
    let said = said.map(|(what, values)| format!("; {what}: {}", values.into_iter().collect::<Vec<_>>().join(", ")));
    format!("environment: {}{}", registration.environment, said.collect::<String>())
}

/// What came (`+`) and what went (`-`).
pub(super) fn of_change(before: &CallerRow, after: &CallerRow) -> String {
    let (Some(before), Some(after)) = (&before.registration, &after.registration) else { return String::new() };
    let changes = parts(before).into_iter().zip(parts(after)).filter_map(|((what, before), (_, after))| {
        let gone = before.difference(&after).map(|value| format!("-{value}"));
        let new = after.difference(&before).map(|value| format!("+{value}"));
        let changes: Vec<String> = gone.chain(new).collect();
        (!changes.is_empty()).then(|| format!("{what}: {}", changes.join(", ")))
    });
    changes.collect::<Vec<_>>().join("; ")
}

/// What may change, by name and as words.
fn parts(registration: &CallerRegistration) -> [(&'static str, BTreeSet<String>); 7] {
    // What is not here changes by calls that say so themselves, or never.
    let CallerRegistration {
        environment: _,
        identities,
        groups,
        roles,
        rings,
        attributes,
        required_factors,
        limits,
        state: _,
        created: _,
        updated: _,
        state_changed: _,
        request_id: _,
    } = registration;
    fn words<T: ToString>(values: &BTreeSet<T>) -> BTreeSet<String> {
        values.iter().map(ToString::to_string).collect()
    }
    let pairs = |map: &BTreeMap<String, String>| map.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [
        ("identities", words(identities)),
        ("groups", words(groups)),
        ("roles", words(roles)),
        ("key rings", words(rings)),
        ("attributes", pairs(attributes)),
        ("required factors", words(required_factors)),
        ("limits", limit_words(*limits)),
    ]
}

fn limit_words(limits: CallerLimits) -> BTreeSet<String> {
    let CallerLimits { usage: UsageLimits { total, daily }, pace: Pace { per_second, burst, concurrent } } = limits;
    [
        ("max_uses_per_second", per_second.map(u64::from)),
        ("max_burst", burst.map(u64::from)),
        ("max_concurrent_calls", concurrent.map(u64::from)),
        ("max_signatures", total),
        ("max_daily_signatures", daily),
    ]
    .into_iter()
    .filter_map(|(name, limit)| limit.map(|limit| format!("{name}={limit}")))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::CallerDeclaration;
    use super::super::register::row_of;
    use super::*;
    use chancery_model::{Id, Role, Uid};

    #[test]
    fn who_was_given_what_can_be_read() {
        let id = |text| Id::parse("an id", text).unwrap();
        let declared = CallerDeclaration {
            id: id("shop"),
            environment: id("prod"),
            identities: ["dns:a.example".parse().unwrap()].into(),
            groups: BTreeSet::new(),
            roles: [Role::Verifier].into(),
            rings: [id("payments")].into(),
            attributes: BTreeMap::from([("team".to_owned(), "till".to_owned())]),
            required_factors: BTreeSet::new(),
        };
        let more = CallerDeclaration {
            roles: [Role::Signer, Role::Verifier].into(),
            rings: [id("invoices")].into(),
            ..declared.clone()
        };
        let (before, after) = (row_of(declared, Uid::NONE), row_of(more, Uid::NONE));
        assert_eq!(
            of_registration(&before),
            "environment: prod; identities: dns:a.example; roles: verifier; key rings: payments; attributes: team=till"
        );
        assert_eq!(of_change(&before, &after), "roles: +signer; key rings: -payments, +invoices");
        let mut limited = after.clone();
        if let Some(registration) = &mut limited.registration {
            registration.limits.pace.per_second = Some(20);
        }
        assert_eq!(of_change(&after, &limited), "limits: +max_uses_per_second=20");
    }
}

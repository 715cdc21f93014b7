//! CallerService.

use super::enums::known;
use super::fields::{id_in, invalid, name, reason, request_id, timestamp};
use super::keys::limit;
use super::page::PageOf;
use chancery_api::v1;
use chancery_core::{CallerChange, CallerEntry, CallerView, Error, LimitChanges, NewCaller, SuspendedCaller};
use chancery_model::{Caller, CallerLimits, CallerState, Factor, Id, Pace, RingName, Usage, UsageLimits};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

/// The fields that UpdateCaller changes.
const CHANGEABLE: [&str; 11] = [
    "identities",
    "groups",
    "roles",
    "key_rings",
    "attributes",
    "required_factors",
    "max_uses_per_second",
    "max_burst",
    "max_concurrent_calls",
    "max_signatures",
    "max_daily_signatures",
];

pub(crate) fn create_caller_request(request: v1::CreateCallerRequest) -> Result<NewCaller, Error> {
    let v1::CreateCallerRequest { caller_id, caller, request_id: id } = request;
    let caller_id = Id::parse("the caller id", &caller_id).map_err(|error| invalid("caller_id", error.to_string()))?;
    let caller = caller.ok_or_else(|| invalid("caller", "must be given, with its environment"))?;
    let v1::Caller {
        name,
        environment,
        identities,
        groups,
        roles,
        key_rings,
        attributes,
        required_factors,
        state,
        create_time,
        update_time,
        state_change_time,
        etag,
        max_uses_per_second,
        max_burst,
        max_concurrent_calls,
        max_signatures,
        max_daily_signatures,
        signature_count,
        daily_signature_count,
    } = caller;
    // What the service sets is not taken from a caller, and not silently dropped either.
    for (field, is_empty) in [
        ("caller.name", name.is_empty()),
        ("caller.state", state == 0),
        ("caller.create_time", create_time.is_none()),
        ("caller.update_time", update_time.is_none()),
        ("caller.state_change_time", state_change_time.is_none()),
        ("caller.etag", etag.is_empty()),
        ("caller.signature_count", signature_count == 0),
        ("caller.daily_signature_count", daily_signature_count == 0),
    ] {
        if !is_empty {
            return Err(invalid(field, "is set by the service; leave it empty"));
        }
    }
    let environment =
        Id::parse("the environment", &environment).map_err(|error| invalid("caller.environment", error.to_string()))?;
    Ok(NewCaller {
        id: caller_id,
        environment,
        identities: words("caller.identities", &identities)?,
        groups: ids("caller.groups", "the group", &groups)?,
        roles: words("caller.roles", &roles)?,
        rings: rings("caller.key_rings", &key_rings)?,
        attributes: attributes.into_iter().collect(),
        required_factors: factors("caller.required_factors", &required_factors)?,
        limits: CallerLimits {
            usage: UsageLimits { total: limit(max_signatures), daily: limit(max_daily_signatures) },
            pace: Pace {
                per_second: limit(max_uses_per_second),
                burst: limit(max_burst),
                concurrent: limit(max_concurrent_calls),
            },
        },
        request_id: request_id(id)?,
    })
}

pub(crate) fn get_caller_request(request: v1::GetCallerRequest) -> Result<Id, Error> {
    let v1::GetCallerRequest { name } = request;
    caller_named("name", &name)
}

pub(crate) fn list_callers_request(request: v1::ListCallersRequest) -> Result<PageOf, Error> {
    let v1::ListCallersRequest { page_size, page_token } = request;
    PageOf::parse("ListCallers", page_size, &page_token)
}

pub(crate) fn update_caller_request(request: v1::UpdateCallerRequest) -> Result<CallerChange, Error> {
    let v1::UpdateCallerRequest { caller, update_mask } = request;
    let caller = caller.ok_or_else(|| invalid("caller", "must be given, with its name"))?;
    let v1::Caller {
        name,
        // Not changed by this call, whether they are given as they were read or not.
        environment: _,
        state: _,
        create_time: _,
        update_time: _,
        state_change_time: _,
        identities,
        groups,
        roles,
        key_rings,
        attributes,
        required_factors,
        etag,
        max_uses_per_second,
        max_burst,
        max_concurrent_calls,
        max_signatures,
        max_daily_signatures,
        signature_count: _,
        daily_signature_count: _,
    } = caller;
    let paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
    let all = CHANGEABLE.join(", ");
    if paths.is_empty() {
        return Err(invalid("update_mask", format!("must name what to change: some of {all}, or * for all of them")));
    }
    if let Some(path) = paths.iter().find(|path| *path != "*" && !CHANGEABLE.contains(&path.as_str())) {
        return Err(invalid("update_mask", format!("{path:?} is nothing that can be changed; that can be: {all}")));
    }
    let wanted = |field: &str| paths.iter().any(|path| path == "*" || path == field);
    fn given<T>(wanted: bool, value: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, Error> {
        if wanted { value().map(Some) } else { Ok(None) }
    }
    Ok(CallerChange {
        id: caller_named("caller.name", &name)?,
        etag: (!etag.is_empty()).then_some(etag),
        identities: given(wanted("identities"), || words("caller.identities", &identities))?,
        groups: given(wanted("groups"), || ids("caller.groups", "the group", &groups))?,
        roles: given(wanted("roles"), || words("caller.roles", &roles))?,
        rings: given(wanted("key_rings"), || rings("caller.key_rings", &key_rings))?,
        attributes: given(wanted("attributes"), || Ok(attributes.into_iter().collect()))?,
        required_factors: given(wanted("required_factors"), || factors("caller.required_factors", &required_factors))?,
        limits: LimitChanges {
            max_uses_per_second: wanted("max_uses_per_second").then_some(limit(max_uses_per_second)),
            max_burst: wanted("max_burst").then_some(limit(max_burst)),
            max_concurrent_calls: wanted("max_concurrent_calls").then_some(limit(max_concurrent_calls)),
            max_signatures: wanted("max_signatures").then_some(limit(max_signatures)),
            max_daily_signatures: wanted("max_daily_signatures").then_some(limit(max_daily_signatures)),
        },
    })
}

pub(crate) fn suspend_caller_request(request: v1::SuspendCallerRequest) -> Result<(Id, String), Error> {
    let v1::SuspendCallerRequest { name, reason: why } = request;
    Ok((caller_named("name", &name)?, reason(why)?))
}

pub(crate) fn suspend_caller_response(suspended: SuspendedCaller) -> v1::SuspendCallerResponse {
    let SuspendedCaller { caller: suspended, open_intents } = suspended;
    v1::SuspendCallerResponse { caller: Some(caller(&suspended)), open_intents }
}

pub(crate) fn resume_caller_request(request: v1::ResumeCallerRequest) -> Result<(Id, String), Error> {
    let v1::ResumeCallerRequest { name, reason: why } = request;
    Ok((caller_named("name", &name)?, reason(why)?))
}

pub(crate) fn caller(view: &CallerView) -> v1::Caller {
    let CallerView { entry, usage: Usage { total, day: _, today } } = view;
    let CallerEntry { caller, created, updated, state_changed, request_id: _, etag } = &**entry;
    let Caller {
        id,
        uid: _,
        environment,
        identities,
        groups,
        roles,
        rings,
        attributes,
        required_factors,
        limits: CallerLimits { usage, pace },
        state,
    } = &**caller;
    v1::Caller {
        name: format!("callers/{id}"),
        environment: environment.to_string(),
        identities: identities.iter().map(ToString::to_string).collect(),
        groups: groups.iter().map(ToString::to_string).collect(),
        roles: roles.iter().map(ToString::to_string).collect(),
        key_rings: rings.iter().map(|ring| format!("keyRings/{ring}")).collect(),
        attributes: attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        required_factors: required_factors.iter().copied().map(factor_number).collect(),
        state: state_number(*state),
        create_time: Some(timestamp(*created)),
        update_time: Some(timestamp(*updated)),
        state_change_time: Some(timestamp(*state_changed)),
        etag: etag.clone(),
        max_uses_per_second: pace.per_second.unwrap_or(0),
        max_burst: pace.burst.unwrap_or(0),
        max_concurrent_calls: pace.concurrent.unwrap_or(0),
        max_signatures: usage.total.unwrap_or(0),
        max_daily_signatures: usage.daily.unwrap_or(0),
        signature_count: *total,
        daily_signature_count: *today,
    }
}

pub(super) fn caller_named(field: &str, text: &str) -> Result<Id, Error> {
    id_in(field, text, "callers", "the caller id")
}

const fn state_number(state: CallerState) -> i32 {
    (match state {
        CallerState::Active => v1::CallerState::Active,
        CallerState::Suspended => v1::CallerState::Suspended,
    }) as i32
}

const fn factor_number(factor: Factor) -> i32 {
    (match factor {
        Factor::Certificate => v1::AuthenticationFactor::Certificate,
        Factor::ApiKey => v1::AuthenticationFactor::ApiKey,
        Factor::OidcToken => v1::AuthenticationFactor::OidcToken,
    }) as i32
}

fn factors(field: &str, numbers: &[i32]) -> Result<BTreeSet<Factor>, Error> {
    set(field, numbers, |number| match known(field, *number)? {
        v1::AuthenticationFactor::Unspecified => Err(invalid(field, "each must be given, or none at all")),
        v1::AuthenticationFactor::Certificate => Ok(Factor::Certificate),
        v1::AuthenticationFactor::ApiKey => Ok(Factor::ApiKey),
        v1::AuthenticationFactor::OidcToken => Ok(Factor::OidcToken),
    })
}

/// Words of the model's.
pub(super) fn words<T: FromStr<Err: Display> + Ord>(field: &str, texts: &[String]) -> Result<BTreeSet<T>, Error> {
    set(field, texts, |text| text.parse().map_err(|error: T::Err| invalid(field, format!("{text:?}: {error}"))))
}

pub(super) fn ids(field: &str, what: &'static str, texts: &[String]) -> Result<BTreeSet<Id>, Error> {
    set(field, texts, |text| Id::parse(what, text).map_err(|error| invalid(field, format!("{text:?}: {error}"))))
}

pub(super) fn rings(field: &str, names: &[String]) -> Result<BTreeSet<Id>, Error> {
    set(field, names, |text| name::<RingName>(field, text).map(|name| name.ring))
}

/// A repeated field whose order means nothing: what is given twice is a mistake.
fn set<S: std::fmt::Debug, T: Ord>(
    field: &str,
    values: &[S],
    parse: impl Fn(&S) -> Result<T, Error>,
) -> Result<BTreeSet<T>, Error> {
    let mut all = BTreeSet::new();
    for value in values {
        if !all.insert(parse(value)?) {
            return Err(invalid(field, format!("{value:?} is given twice; remove one")));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    fn new_caller() -> v1::Caller {
        v1::Caller {
            environment: "dev".to_owned(),
            identities: vec!["spiffe://chancery.dev/shop".to_owned()],
            groups: vec!["till".to_owned()],
            roles: vec!["signer".to_owned()],
            key_rings: vec!["keyRings/dev".to_owned()],
            required_factors: vec![v1::AuthenticationFactor::Certificate.into()],
            ..v1::Caller::default()
        }
    }

    fn create(caller: v1::Caller) -> Result<NewCaller, Error> {
        let request =
            v1::CreateCallerRequest { caller_id: "shop".to_owned(), caller: Some(caller), request_id: String::new() };
        create_caller_request(request)
    }

    #[test]
    fn a_new_caller_is_read_whole() {
        let new = create(new_caller()).unwrap();
        assert_eq!(new.identities.first().unwrap().to_string(), "spiffe://chancery.dev/shop");
        assert_eq!(new.rings.first().unwrap().as_str(), "dev");
        assert_eq!(new.required_factors, BTreeSet::from([Factor::Certificate]));
        assert_eq!(new.request_id, None);
    }

    #[test]
    fn what_is_wrong_with_a_new_caller_names_its_field() {
        type Change = fn(&mut v1::Caller);
        let changes: [(&str, Change); 15] = [
            ("caller.name", |caller| caller.name = "callers/shop".to_owned()),
            ("caller.state", |caller| caller.state = 1),
            ("caller.etag", |caller| caller.etag = "x".to_owned()),
            ("caller.signature_count", |caller| caller.signature_count = 1),
            ("caller.daily_signature_count", |caller| caller.daily_signature_count = 1),
            ("caller.create_time", |caller| caller.create_time = Some(prost_types::Timestamp::default())),
            ("caller.update_time", |caller| caller.update_time = Some(prost_types::Timestamp::default())),
            ("caller.state_change_time", |caller| caller.state_change_time = Some(prost_types::Timestamp::default())),
            ("caller.environment", |caller| caller.environment = "Dev".to_owned()),
            ("caller.identities", |caller| caller.identities.push("shop.example".to_owned())),
            ("caller.identities", |caller| caller.identities.push("spiffe://chancery.dev/shop".to_owned())),
            ("caller.groups", |caller| caller.groups.push("Ä".to_owned())),
            ("caller.roles", |caller| caller.roles.push("root".to_owned())),
            ("caller.key_rings", |caller| caller.key_rings.push("dev".to_owned())),
            ("caller.required_factors", |caller| caller.required_factors.push(0)),
        ];
        for (field, change) in changes {
            let mut caller = new_caller();
            change(&mut caller);
            assert_eq!(violation(create(caller).unwrap_err()).0, field);
        }
    }

    #[test]
    fn a_change_takes_what_its_mask_names() {
        let update = |paths: &[&str]| {
            let (name, roles) = ("callers/shop".to_owned(), vec!["root".to_owned()]);
            let caller = v1::Caller { name, roles, max_signatures: 9, ..new_caller() };
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            update_caller_request(v1::UpdateCallerRequest {
                caller: Some(caller),
                update_mask: Some(prost_types::FieldMask { paths }),
            })
        };
        let change = update(&["groups", "key_rings"]).unwrap();
        assert!(change.groups.is_some() && change.rings.is_some());
        assert_eq!((change.identities, change.roles, change.attributes, change.etag), (None, None, None, None));
        assert_eq!(change.limits, LimitChanges::default());
        let change = update(&["max_burst", "max_signatures"]).unwrap();
        let limits = LimitChanges { max_burst: Some(None), max_signatures: Some(Some(9)), ..LimitChanges::default() };
        assert_eq!((change.limits, change.groups), (limits, None));
        assert_eq!(violation(update(&["*"]).unwrap_err()).0, "caller.roles");
        for paths in [&[][..], &["environment"], &["groups", "state"], &["caller.groups"]] {
            assert_eq!(violation(update(paths).unwrap_err()).0, "update_mask", "{paths:?}");
        }
    }

    #[test]
    fn states_and_factors_have_their_own_names() {
        for state in CallerState::ALL {
            let name = v1::CallerState::try_from(state_number(state)).unwrap().as_str_name();
            assert_eq!(name, format!("CALLER_STATE_{state}"));
        }
        for factor in Factor::ALL {
            let name = v1::AuthenticationFactor::try_from(factor_number(factor)).unwrap().as_str_name();
            assert_eq!(name, format!("AUTHENTICATION_FACTOR_{}", factor.as_str().to_uppercase().replace('-', "_")));
        }
    }
}

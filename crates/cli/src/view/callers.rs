//! Callers.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chancery_api::v1;
use serde::Serialize;

use super::{at_most, pace, time, used, word};
use crate::output::{View, fields, rows};

/// A caller.
#[derive(Debug, Serialize)]
pub struct CallerView {
    name: String,
    environment: String,
    state: String,
    identities: Vec<String>,
    groups: Vec<String>,
    roles: Vec<String>,
    key_rings: Vec<String>,
    attributes: BTreeMap<String, String>,
    required_factors: Vec<String>,
    /// Not given: what everybody may.
    max_uses_per_second: Option<u32>,
    max_burst: Option<u32>,
    max_concurrent_calls: Option<u32>,
    max_signatures: Option<u64>,
    max_daily_signatures: Option<u64>,
    signature_count: u64,
    daily_signature_count: u64,
    create_time: String,
    update_time: String,
    state_change_time: String,
    etag: String,
}

impl From<v1::Caller> for CallerView {
    fn from(caller: v1::Caller) -> Self {
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
        let pace = |number: u32| (number > 0).then_some(number);
        let limit = |number: u64| (number > 0).then_some(number);
        let state_name = v1::CallerState::try_from(state).ok().map(|known| known.as_str_name());
        Self {
            name,
            environment,
            state: word(state_name, "CALLER_STATE_", state),
            identities,
            groups,
            roles,
            key_rings,
            attributes: attributes.into_iter().collect(),
            required_factors: required_factors.into_iter().map(factor).collect(),
            max_uses_per_second: pace(max_uses_per_second),
            max_burst: pace(max_burst),
            max_concurrent_calls: pace(max_concurrent_calls),
            max_signatures: limit(max_signatures),
            max_daily_signatures: limit(max_daily_signatures),
            signature_count,
            daily_signature_count,
            create_time: time(create_time),
            update_time: time(update_time),
            state_change_time: time(state_change_time),
            etag,
        }
    }
}

fn factor(number: i32) -> String {
    let name = v1::AuthenticationFactor::try_from(number).ok().map(|known| known.as_str_name());
    word(name, "AUTHENTICATION_FACTOR_", number)
}

impl View for CallerView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let attributes: Vec<String> = self.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        fields(
            out,
            [
                ("name", self.name.clone()),
                ("environment", self.environment.clone()),
                ("state", self.state.clone()),
                ("identities", self.identities.join(" ")),
                ("groups", self.groups.join(" ")),
                ("roles", self.roles.join(" ")),
                ("key rings", self.key_rings.join(" ")),
                ("attributes", attributes.join(" ")),
                ("required factors", self.required_factors.join(" ")),
                ("signatures", used(self.signature_count, self.max_signatures)),
                ("signatures today", used(self.daily_signature_count, self.max_daily_signatures)),
                ("uses a second", pace(self.max_uses_per_second, self.max_burst)),
                ("calls under way", at_most(self.max_concurrent_calls)),
                ("created", self.create_time.clone()),
                ("updated", self.update_time.clone()),
                ("state changed", self.state_change_time.clone()),
                ("etag", self.etag.clone()),
            ],
        )
    }
}

/// Callers.
#[derive(Debug, Serialize)]
pub struct CallerList {
    /// By name.
    pub callers: Vec<CallerView>,
}

impl View for CallerList {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |caller: &CallerView| {
            let rings = caller.key_rings.iter().map(|ring| ring.trim_start_matches("keyRings/"));
            [
                caller.name.clone(),
                caller.environment.clone(),
                caller.state.clone(),
                caller.roles.join(" "),
                rings.collect::<Vec<_>>().join(" "),
                caller.identities.join(" "),
            ]
        };
        let header = ["NAME", "ENVIRONMENT", "STATE", "ROLES", "KEY RINGS", "IDENTITIES"];
        rows(out, header, self.callers.iter().map(row))
    }
}

/// A suspended caller, and what was still under way.
#[derive(Debug, Serialize)]
pub struct SuspendedCallerView {
    /// The caller.
    pub caller: CallerView,
    /// Log indexes of intents that had not ended.
    pub open_intents: Vec<u64>,
}

impl View for SuspendedCallerView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.caller.write_table(out)?;
        super::open_intents(out, &self.open_intents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_shown_in_words() {
        let caller = v1::Caller {
            name: "callers/checkout".to_owned(),
            environment: "prod".to_owned(),
            identities: vec!["spiffe://example.org/checkout".to_owned()],
            roles: vec!["signer".to_owned()],
            key_rings: vec!["keyRings/payments".to_owned()],
            required_factors: vec![2, 9],
            state: 2,
            ..v1::Caller::default()
        };
        let view = CallerView::from(caller);
        assert_eq!((view.state.as_str(), view.required_factors.join(" ")), ("SUSPENDED", "API_KEY 9".to_owned()));
        let mut out = Vec::new();
        CallerList { callers: vec![view] }.write_table(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME              ENVIRONMENT  STATE      ROLES   KEY RINGS  IDENTITIES\n\
             callers/checkout  prod         SUSPENDED  signer  payments   spiffe://example.org/checkout\n"
        );
    }
}

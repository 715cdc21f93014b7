//! API keys; never their secrets, but for the one time that a key is issued.

use std::io::{self, Write};

use chancery_api::v1;
use serde::Serialize;

use super::{time, word};
use crate::output::{View, fields, rows};

/// An API key.
#[derive(Debug, Serialize)]
pub struct ApiKeyView {
    name: String,
    state: String,
    access: String,
    actions: Vec<String>,
    key_rings: Vec<String>,
    networks: Vec<String>,
    create_time: String,
    expire_time: String,
    revoke_time: String,
    last_use_time: String,
    replaced_by: String,
    dormant: bool,
    expiring: bool,
}

impl From<v1::ApiKey> for ApiKeyView {
    fn from(api_key: v1::ApiKey) -> Self {
        let v1::ApiKey {
            name,
            scope,
            state,
            create_time,
            expire_time,
            revoke_time,
            last_use_time,
            replaced_by,
            dormant,
            expiring,
        } = api_key;
        let v1::ApiKeyScope { access, actions, key_rings, networks } = scope.unwrap_or_default();
        let state_name = v1::ApiKeyState::try_from(state).ok().map(|known| known.as_str_name());
        let access_name = v1::ApiKeyAccess::try_from(access).ok().map(|known| known.as_str_name());
        Self {
            name,
            state: word(state_name, "API_KEY_STATE_", state),
            access: word(access_name, "API_KEY_ACCESS_", access),
            actions,
            key_rings,
            networks,
            create_time: time(create_time),
            expire_time: time(expire_time),
            revoke_time: time(revoke_time),
            last_use_time: time(last_use_time),
            replaced_by,
            dormant,
            expiring,
        }
    }
}

impl ApiKeyView {
    /// In a line.
    pub fn summary(&self) -> String {
        format!("{}, {}, expires {}", self.name, self.access, self.expire_time)
    }

    /// What somebody should look at.
    fn remarks(&self) -> String {
        let remarks =
            [(self.dormant, "dormant"), (self.expiring, "expiring"), (!self.replaced_by.is_empty(), "rotated")];
        let remarks: Vec<&str> = remarks.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
        remarks.join(" ")
    }
}

impl View for ApiKeyView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        fields(
            out,
            [
                ("name", self.name.clone()),
                ("state", self.state.clone()),
                ("access", self.access.clone()),
                ("actions", self.actions.join(" ")),
                ("key rings", self.key_rings.join(" ")),
                ("networks", self.networks.join(" ")),
                ("created", self.create_time.clone()),
                ("expires", self.expire_time.clone()),
                ("revoked", self.revoke_time.clone()),
                ("last used", self.last_use_time.clone()),
                ("replaced by", self.replaced_by.clone()),
                ("remarks", self.remarks()),
            ],
        )
    }
}

/// API keys.
#[derive(Debug, Serialize)]
pub struct ApiKeyList {
    /// By name.
    pub api_keys: Vec<ApiKeyView>,
}

impl View for ApiKeyList {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let row = |key: &ApiKeyView| {
            [
                key.name.clone(),
                key.state.clone(),
                key.access.clone(),
                key.expire_time.clone(),
                or_dash(&key.last_use_time),
                key.remarks(),
            ]
        };
        rows(out, ["NAME", "STATE", "ACCESS", "EXPIRES", "LAST USED", "REMARKS"], self.api_keys.iter().map(row))
    }
}

/// A new API key, and the key itself: for programs.
#[derive(Serialize)]
pub struct IssuedView<'a> {
    /// What there is to know of it.
    pub api_key: ApiKeyView,
    /// The key, this once.
    pub key: &'a str,
}

impl View for IssuedView<'_> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_should_look_at_is_said() {
        let api_key = v1::ApiKey {
            name: "callers/shop/apiKeys/0aZ9bY8cX7dW".to_owned(),
            scope: Some(v1::ApiKeyScope { access: 1, ..v1::ApiKeyScope::default() }),
            state: 1,
            dormant: true,
            expiring: true,
            ..v1::ApiKey::default()
        };
        let view = ApiKeyView::from(api_key);
        assert_eq!((view.state.as_str(), view.access.as_str()), ("ACTIVE", "READ_ONLY"));
        let mut out = Vec::new();
        ApiKeyList { api_keys: vec![view] }.write_table(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("dormant expiring"));
    }
}

//! Key rings.

use std::io::{self, Write};

use chancery_client::KeyRing;
use serde::Serialize;

use super::moment;
use crate::output::{View, fields, rows};

/// A key ring.
#[derive(Debug, Serialize)]
pub struct RingView {
    name: String,
    environment: String,
    token: String,
    algorithms: Vec<String>,
    state: String,
    state_change_time: String,
    state_reason: String,
    allow_extractable: bool,
}

impl From<KeyRing> for RingView {
    fn from(ring: KeyRing) -> Self {
        let KeyRing { name, environment, token, algorithms, state, state_changed, state_reason, allow_extractable } =
            ring;
        let algorithms = algorithms.into_iter().map(|algorithm| algorithm.to_string()).collect();
        Self {
            name: name.to_string(),
            environment,
            token,
            algorithms,
            state: state.as_str().to_owned(),
            state_change_time: state_changed.map(moment).unwrap_or_default(),
            state_reason,
            allow_extractable,
        }
    }
}

impl View for RingView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        // What is empty is left out.
        fields(
            out,
            [
                ("name", self.name.clone()),
                ("state", self.state.clone()),
                ("state changed", self.state_change_time.clone()),
                ("reason", self.state_reason.clone()),
                ("environment", self.environment.clone()),
                ("token", self.token.clone()),
                ("adopts extractable keys", if self.allow_extractable { "yes" } else { "" }.to_owned()),
                ("algorithms", self.algorithms.join(" ")),
            ],
        )
    }
}

/// A ring whose keys sign no more, and what was still under way.
#[derive(Debug, Serialize)]
pub struct FrozenView {
    /// The ring.
    pub key_ring: RingView,
    /// Log indexes of what had not ended.
    pub open_intents: Vec<u64>,
}

impl View for FrozenView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.key_ring.write_table(out)?;
        super::open_intents(out, &self.open_intents)
    }
}

/// The key rings that the caller may see.
#[derive(Debug, Serialize)]
pub struct RingList {
    /// By name.
    pub key_rings: Vec<RingView>,
}

impl View for RingList {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |ring: &RingView| {
            [
                ring.name.clone(),
                ring.state.clone(),
                ring.environment.clone(),
                ring.token.clone(),
                ring.algorithms.join(" "),
            ]
        };
        rows(out, ["NAME", "STATE", "ENVIRONMENT", "TOKEN", "ALGORITHMS"], self.key_rings.iter().map(row))
    }
}

//! Keys and versions.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use chancery_client::{Key, KeySettings, KeyVersion};
use chancery_model::KeyState;
use serde::Serialize;

use super::{at_most, moment, pace, used};
use crate::duration;
use crate::input::hex;
use crate::output::{View, fields, rows};

/// A key.
#[derive(Debug, Serialize)]
pub struct KeyView {
    name: String,
    algorithm: String,
    allow_digest: bool,
    labels: BTreeMap<String, String>,
    primary_version: String,
    create_time: String,
    update_time: String,
    etag: String,
    /// Whole seconds; none where the key signs no JWTs.
    max_jwt_lifetime_seconds: Option<u64>,
    owner: String,
    deletion_protection: bool,
    rotation_period_seconds: Option<u64>,
    next_rotation_time: String,
    publish_ahead_seconds: Option<u64>,
    signing_period_seconds: Option<u64>,
    max_signatures: Option<u64>,
    max_daily_signatures: Option<u64>,
    max_uses_per_second: Option<u32>,
    max_burst: Option<u32>,
    max_concurrent_uses: Option<u32>,
    requires_caller_signature: bool,
    signature_count: u64,
    daily_signature_count: u64,
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        let KeySettings {
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
        } = key.settings;
        let seconds = |period: Option<Duration>| period.map(|period| period.as_secs());
        Self {
            name: key.name.to_string(),
            algorithm: key.algorithm.to_string(),
            allow_digest: key.allow_digest,
            labels: key.labels,
            primary_version: key.primary_version.map(|version| version.to_string()).unwrap_or_default(),
            create_time: moment(key.created),
            update_time: moment(key.updated),
            etag: key.etag,
            max_jwt_lifetime_seconds: seconds(key.max_jwt_lifetime),
            owner: owner.unwrap_or_default(),
            deletion_protection,
            rotation_period_seconds: seconds(rotation_period),
            next_rotation_time: next_rotation.map(moment).unwrap_or_default(),
            publish_ahead_seconds: seconds(publish_ahead),
            signing_period_seconds: seconds(signing_period),
            max_signatures,
            max_daily_signatures,
            max_uses_per_second,
            max_burst,
            max_concurrent_uses,
            requires_caller_signature,
            signature_count: key.signature_count,
            daily_signature_count: key.daily_signature_count,
        }
    }
}

impl KeyView {
    fn labels_text(&self) -> String {
        self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }
}

impl View for KeyView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let period = |seconds: Option<u64>| seconds.map(duration::write).unwrap_or_default();
        // What is empty is left out.
        fields(
            out,
            [
                ("name", self.name.clone()),
                ("algorithm", self.algorithm.clone()),
                ("owner", self.owner.clone()),
                ("allow digest", yes(self.allow_digest)),
                ("labels", self.labels_text()),
                ("primary version", self.primary_version.clone()),
                ("longest JWT", self.max_jwt_lifetime_seconds.map_or_else(|| "-".to_owned(), duration::write)),
                ("rotation period", period(self.rotation_period_seconds)),
                ("next rotation", self.next_rotation_time.clone()),
                ("published ahead", period(self.publish_ahead_seconds)),
                ("signing period", period(self.signing_period_seconds)),
                ("signatures", used(self.signature_count, self.max_signatures)),
                ("signatures today", used(self.daily_signature_count, self.max_daily_signatures)),
                ("uses a second", pace(self.max_uses_per_second, self.max_burst)),
                ("uses under way", at_most(self.max_concurrent_uses)),
                ("deletion protection", yes(self.deletion_protection)),
                ("requires caller signature", yes(self.requires_caller_signature)),
                ("created", self.create_time.clone()),
                ("updated", self.update_time.clone()),
                ("etag", self.etag.clone()),
            ],
        )
    }
}

/// Keys.
#[derive(Debug, Serialize)]
pub struct KeyList {
    /// By name.
    pub keys: Vec<KeyView>,
}

impl View for KeyList {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |key: &KeyView| {
            let version = key.primary_version.rsplit_once("/versions/").map_or("-", |(_, number)| number);
            [key.name.clone(), key.algorithm.clone(), version.to_owned(), key.create_time.clone(), key.labels_text()]
        };
        rows(out, ["NAME", "ALGORITHM", "PRIMARY", "CREATED", "LABELS"], self.keys.iter().map(row))
    }
}

/// A key version.
#[derive(Debug, Serialize)]
pub struct VersionView {
    name: String,
    state: String,
    algorithm: String,
    create_time: String,
    generate_time: String,
    state_change_time: String,
    public_key_sha256: String,
    token_object_id: String,
    activate_time: String,
    compromise_time: String,
    destroy_time: String,
    /// Base64 of the DER; the version's own first.
    certificate_chain: Vec<String>,
    origin: String,
    extractable: bool,
}

impl From<KeyVersion> for VersionView {
    fn from(version: KeyVersion) -> Self {
        Self {
            name: version.name.to_string(),
            state: version.state.as_str().to_owned(),
            algorithm: version.algorithm.to_string(),
            create_time: moment(version.created),
            generate_time: version.generated.map(moment).unwrap_or_default(),
            state_change_time: moment(version.state_changed),
            public_key_sha256: version.public_key_sha256.map(|hash| hex(&hash)).unwrap_or_default(),
            token_object_id: hex(&version.token_object_id),
            activate_time: version.activated.map(moment).unwrap_or_default(),
            compromise_time: version.compromised.map(moment).unwrap_or_default(),
            destroy_time: version.destroy_at.map(moment).unwrap_or_default(),
            certificate_chain: version.certificates.iter().map(|der| Base64::encode_string(der)).collect(),
            origin: version.origin.as_str().to_owned(),
            extractable: version.extractable,
        }
    }
}

/// What is said of a version that is marked.
const EXTRACTABLE: &str = "yes: a copy of the key may be outside the token";

impl VersionView {
    fn origin_text(&self) -> String {
        let mark = if self.extractable { " (extractable)" } else { "" };
        format!("{}{mark}", self.origin)
    }
}

impl View for VersionView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = |number: usize| if number == 0 { String::new() } else { number.to_string() };
        let planned = self.state == KeyState::PreActive.as_str();
        // What is empty is left out.
        fields(
            out,
            [
                ("name", self.name.clone()),
                ("state", self.state.clone()),
                ("algorithm", self.algorithm.clone()),
                ("created", self.create_time.clone()),
                ("generated", self.generate_time.clone()),
                (if planned { "to be activated" } else { "activated" }, self.activate_time.clone()),
                ("compromised", self.compromise_time.clone()),
                ("to be destroyed", self.destroy_time.clone()),
                ("state changed", self.state_change_time.clone()),
                ("certificates", count(self.certificate_chain.len())),
                ("public key sha256", self.public_key_sha256.clone()),
                ("token object id", self.token_object_id.clone()),
                ("origin", self.origin.clone()),
                ("extractable", if self.extractable { EXTRACTABLE } else { "" }.to_owned()),
            ],
        )
    }
}

/// A key with its versions.
#[derive(Debug, Serialize)]
pub struct KeyWithVersions {
    /// The key.
    pub key: KeyView,
    /// Newest first.
    pub versions: Vec<VersionView>,
}

impl View for KeyWithVersions {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.key.write_table(out)?;
        writeln!(out)?;
        let row = |version: &VersionView| {
            [
                version.name.clone(),
                version.state.clone(),
                version.create_time.clone(),
                version.state_change_time.clone(),
                version.origin_text(),
            ]
        };
        rows(out, ["VERSION", "STATE", "CREATED", "STATE CHANGED", "ORIGIN"], self.versions.iter().map(row))
    }
}

/// A version that no longer signs, and what was still under way.
#[derive(Debug, Serialize)]
pub struct StoppedView {
    /// The version.
    pub key_version: VersionView,
    /// Log indexes of intents that had not ended.
    pub open_intents: Vec<u64>,
}

impl View for StoppedView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.key_version.write_table(out)?;
        super::open_intents(out, &self.open_intents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_client::KeyOrigin;
    use chancery_model::{Algorithm, KeyName, Timestamp};

    fn key() -> Key {
        let at = Timestamp::from_unix_micros(1_700_000_000_000_000);
        let name: KeyName = "keyRings/dev/keys/k".parse().unwrap();
        Key {
            primary_version: Some(name.version(3)),
            name,
            algorithm: Algorithm::Ed25519,
            allow_digest: false,
            labels: [("team".to_owned(), "billing".to_owned())].into(),
            created: at,
            updated: at,
            etag: String::new(),
            max_jwt_lifetime: None,
            settings: KeySettings::NONE,
            signature_count: 0,
            daily_signature_count: 0,
        }
    }

    fn version() -> KeyVersion {
        let Key { primary_version, algorithm, created, .. } = key();
        KeyVersion {
            name: primary_version.unwrap(),
            state: KeyState::Suspended,
            algorithm,
            created,
            generated: None,
            state_changed: created,
            public_key_sha256: None,
            token_object_id: vec![0xab; 16],
            activated: None,
            compromised: None,
            destroy_at: None,
            certificates: Vec::new(),
            origin: KeyOrigin::Generated,
            extractable: false,
        }
    }

    #[test]
    fn a_list_of_keys_names_their_primary_versions() {
        let mut out = Vec::new();
        KeyList { keys: vec![key().into()] }.write_table(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME                 ALGORITHM  PRIMARY  CREATED               LABELS\n\
             keyRings/dev/keys/k  ED25519    3        2023-11-14T22:13:20Z  team=billing\n"
        );
    }

    #[test]
    fn json_field_names_are_those_of_the_proto() {
        let json = serde_json::to_value(KeyView::from(key())).unwrap();
        assert_eq!(json["algorithm"], "ED25519");
        assert_eq!(json["primary_version"], "keyRings/dev/keys/k/versions/3");
        assert_eq!(json["labels"]["team"], "billing");
        let json = serde_json::to_value(VersionView::from(version())).unwrap();
        assert_eq!(json["state"], "SUSPENDED");
        assert_eq!(json["token_object_id"], "ab".repeat(16));
    }

    #[test]
    fn open_intents_are_said() {
        let view = StoppedView { key_version: version().into(), open_intents: vec![7, 9] };
        let mut out = Vec::new();
        view.write_table(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("intents at 7, 9."));
    }
}

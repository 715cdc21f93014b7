//! KeyService: what is done to keys and versions in the course of their life.

use super::fields::{invalid, name, reason, time};
use super::jwt::optional_duration;
use super::keys::{key_version, limit};
use chancery_api::v1;
use chancery_core::{Error, RuleChanges, Stopped, UpdateKey};
use chancery_model::KeyVersionName;
use std::time::Duration;

/// What UpdateKey changes, by the names of the fields.
const UPDATABLE: &str = "labels, max_jwt_lifetime, owner, deletion_protection, rotation_period, next_rotation_time, \
                         publish_ahead, signing_period, max_signatures, max_daily_signatures, max_uses_per_second, \
                         max_burst, max_concurrent_uses, requires_caller_signature";

pub(crate) fn update_key_request(request: v1::UpdateKeyRequest) -> Result<UpdateKey, Error> {
    let v1::UpdateKeyRequest { key, update_mask } = request;
    let key = key.ok_or_else(|| invalid("key", "must be given, with its name"))?;
    let paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(invalid("update_mask", format!("must name the fields to change, of: {UPDATABLE}")));
    }
    // What the mask does not name is not looked at: a key that was read and changed comes back whole.
    let v1::Key {
        name: text,
        algorithm: _,
        allow_digest: _,
        labels,
        primary_version: _,
        create_time: _,
        update_time: _,
        etag,
        max_jwt_lifetime,
        owner,
        deletion_protection,
        rotation_period,
        next_rotation_time,
        publish_ahead,
        signing_period,
        max_signatures,
        max_daily_signatures,
        signature_count: _,
        daily_signature_count: _,
        max_uses_per_second,
        max_burst,
        max_concurrent_uses,
        requires_caller_signature,
    } = key;
    let etag = (!etag.is_empty()).then_some(etag);
    let rules = RuleChanges::default();
    let mut update = UpdateKey { name: name("key.name", &text)?, etag, labels: None, max_jwt_lifetime: None, rules };
    for path in &paths {
        match path.as_str() {
            "labels" => update.labels = Some(labels.clone().into_iter().collect()),
            "max_jwt_lifetime" => {
                let given = optional_duration("key.max_jwt_lifetime", max_jwt_lifetime)?;
                let missing = || invalid("key.max_jwt_lifetime", "must be given where update_mask names it");
                update.max_jwt_lifetime = Some(given.ok_or_else(missing)?);
            }
            "owner" => update.rules.owner = Some(Some(owner.clone()).filter(|owner| !owner.is_empty())),
            "deletion_protection" => update.rules.deletion_protection = Some(deletion_protection),
            "rotation_period" => {
                update.rules.rotation_period = Some(optional_duration("key.rotation_period", rotation_period)?);
            }
            "next_rotation_time" => {
                let missing = || invalid("key.next_rotation_time", "must be given where update_mask names it");
                let given = next_rotation_time.ok_or_else(missing)?;
                update.rules.next_rotation = Some(time("key.next_rotation_time", given)?);
            }
            "publish_ahead" => {
                update.rules.publish_ahead = Some(optional_duration("key.publish_ahead", publish_ahead)?);
            }
            "signing_period" => {
                update.rules.signing_period = Some(optional_duration("key.signing_period", signing_period)?);
            }
            "max_signatures" => update.rules.max_signatures = Some(limit(max_signatures)),
            "max_daily_signatures" => update.rules.max_daily_signatures = Some(limit(max_daily_signatures)),
            "max_uses_per_second" => update.rules.max_uses_per_second = Some(limit(max_uses_per_second)),
            "max_burst" => update.rules.max_burst = Some(limit(max_burst)),
            "max_concurrent_uses" => update.rules.max_concurrent_uses = Some(limit(max_concurrent_uses)),
            "requires_caller_signature" => update.rules.requires_caller_signature = Some(requires_caller_signature),
            _ => return Err(invalid("update_mask", format!("{path:?} cannot be changed; it takes: {UPDATABLE}"))),
        }
    }
    Ok(update)
}

fn version_and_reason(text: &str, why: String) -> Result<(KeyVersionName, String), Error> {
    Ok((name("name", text)?, reason(why)?))
}

pub(crate) fn suspend_request(request: v1::SuspendKeyVersionRequest) -> Result<(KeyVersionName, String), Error> {
    let v1::SuspendKeyVersionRequest { name, reason } = request;
    version_and_reason(&name, reason)
}

pub(crate) fn suspend_response(stopped: Stopped) -> v1::SuspendKeyVersionResponse {
    let Stopped { version, open_intents } = stopped;
    v1::SuspendKeyVersionResponse { key_version: Some(key_version(&version)), open_intents }
}

pub(crate) fn resume_request(request: v1::ResumeKeyVersionRequest) -> Result<(KeyVersionName, String), Error> {
    let v1::ResumeKeyVersionRequest { name, reason } = request;
    version_and_reason(&name, reason)
}

pub(crate) fn deactivate_request(request: v1::DeactivateKeyVersionRequest) -> Result<(KeyVersionName, String), Error> {
    let v1::DeactivateKeyVersionRequest { name, reason } = request;
    version_and_reason(&name, reason)
}

pub(crate) fn deactivate_response(stopped: Stopped) -> v1::DeactivateKeyVersionResponse {
    let Stopped { version, open_intents } = stopped;
    v1::DeactivateKeyVersionResponse { key_version: Some(key_version(&version)), open_intents }
}

pub(crate) fn compromised_request(
    request: v1::MarkKeyVersionCompromisedRequest,
) -> Result<(KeyVersionName, String), Error> {
    let v1::MarkKeyVersionCompromisedRequest { name, reason } = request;
    version_and_reason(&name, reason)
}

pub(crate) fn compromised_response(stopped: Stopped) -> v1::MarkKeyVersionCompromisedResponse {
    let Stopped { version, open_intents } = stopped;
    v1::MarkKeyVersionCompromisedResponse { key_version: Some(key_version(&version)), open_intents }
}

pub(crate) fn schedule_destruction_request(
    request: v1::ScheduleKeyVersionDestructionRequest,
) -> Result<(KeyVersionName, Option<Duration>, String), Error> {
    let v1::ScheduleKeyVersionDestructionRequest { name, reason, grace_period } = request;
    let (name, reason) = version_and_reason(&name, reason)?;
    Ok((name, optional_duration("grace_period", grace_period)?, reason))
}

pub(crate) fn schedule_destruction_response(stopped: Stopped) -> v1::ScheduleKeyVersionDestructionResponse {
    let Stopped { version, open_intents } = stopped;
    v1::ScheduleKeyVersionDestructionResponse { key_version: Some(key_version(&version)), open_intents }
}

pub(crate) fn cancel_destruction_request(
    request: v1::CancelKeyVersionDestructionRequest,
) -> Result<(KeyVersionName, String), Error> {
    let v1::CancelKeyVersionDestructionRequest { name, reason } = request;
    version_and_reason(&name, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    fn request(key: v1::Key, paths: &[&str]) -> v1::UpdateKeyRequest {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let name = "keyRings/payments/keys/jwt".to_owned();
        v1::UpdateKeyRequest { key: Some(v1::Key { name, ..key }), update_mask: Some(prost_types::FieldMask { paths }) }
    }

    #[test]
    fn what_the_mask_does_not_name_is_left_alone() {
        let key = v1::Key { owner: "a".to_owned(), max_signatures: 5, etag: "e".to_owned(), ..v1::Key::default() };
        let update = update_key_request(request(key, &["max_signatures"])).unwrap();
        let rules = RuleChanges { max_signatures: Some(Some(5)), ..RuleChanges::default() };
        assert_eq!((update.rules, update.etag.as_deref(), update.labels), (rules, Some("e"), None));
    }

    #[test]
    fn what_the_mask_names_and_the_key_lacks_is_taken_away() {
        let paths = ["owner", "rotation_period", "max_daily_signatures", "labels"];
        let update = update_key_request(request(v1::Key::default(), &paths)).unwrap();
        let rules = RuleChanges {
            owner: Some(None),
            rotation_period: Some(None),
            max_daily_signatures: Some(None),
            ..RuleChanges::default()
        };
        assert_eq!((update.rules, update.labels.map(|labels| labels.len())), (rules, Some(0)));
    }

    #[test]
    fn a_mask_names_what_can_be_changed() {
        let refused = |paths: &[&str]| violation(update_key_request(request(v1::Key::default(), paths)).unwrap_err());
        assert_eq!(refused(&[]).0, "update_mask");
        for path in ["algorithm", "*", "Labels", "name", "", "signature_count"] {
            let (field, description) = refused(&[path]);
            assert_eq!(field, "update_mask", "{path}");
            assert!(description.contains("cannot be changed"), "{description}");
        }
        assert_eq!(refused(&["next_rotation_time"]).0, "key.next_rotation_time");
        assert_eq!(refused(&["max_jwt_lifetime"]).0, "key.max_jwt_lifetime");
    }
}

//! KeyService.

use super::enums::{algorithm, algorithm_number, origin_number, ring_state_number, state_number};
use super::fields::{invalid, name, reason, request_id, time, timestamp};
use super::jwt::{duration_proto, optional_duration};
use super::page::PageOf;
use chancery_api::v1;
use chancery_core::{AdoptKey, CreateKey, Error, FrozenRing, KeyView, RingView, RotateKey, RuleChanges, VersionEntry};
use chancery_hsm::ObjectQuery;
use chancery_model::{Id, KeyName, KeyRules, KeyVersionName, Pace, RingName, TokenObjectId};
use std::time::Duration;

pub(crate) fn list_key_rings_request(request: v1::ListKeyRingsRequest) -> Result<PageOf, Error> {
    let v1::ListKeyRingsRequest { page_size, page_token } = request;
    PageOf::parse("ListKeyRings", page_size, &page_token)
}

pub(crate) fn get_key_ring_request(request: v1::GetKeyRingRequest) -> Result<RingName, Error> {
    let v1::GetKeyRingRequest { name: text } = request;
    name("name", &text)
}

pub(crate) fn key_ring(ring: RingView) -> v1::KeyRing {
    let RingView { name, environment, token, algorithms, state, state_changed, state_reason, allow_extractable } = ring;
    v1::KeyRing {
        name: name.to_string(),
        environment: environment.to_string(),
        token: format!("tokens/{token}"),
        algorithms: algorithms.into_iter().map(algorithm_number).collect(),
        state: ring_state_number(state),
        state_change_time: state_changed.map(timestamp),
        state_reason: state_reason.unwrap_or_default(),
        allow_extractable,
    }
}

pub(crate) fn freeze_request(request: v1::FreezeKeyRingRequest) -> Result<(RingName, String), Error> {
    let v1::FreezeKeyRingRequest { name: text, reason: why } = request;
    Ok((name("name", &text)?, reason(why)?))
}

pub(crate) fn freeze_response(frozen: FrozenRing) -> v1::FreezeKeyRingResponse {
    let FrozenRing { ring, open_intents } = frozen;
    v1::FreezeKeyRingResponse { key_ring: Some(key_ring(ring)), open_intents }
}

pub(crate) fn unfreeze_request(request: v1::UnfreezeKeyRingRequest) -> Result<(RingName, String), Error> {
    let v1::UnfreezeKeyRingRequest { name: text, reason: why } = request;
    Ok((name("name", &text)?, reason(why)?))
}

pub(crate) fn adopt_key_request(request: v1::AdoptKeyRequest) -> Result<AdoptKey, Error> {
    let v1::AdoptKeyRequest { parent, key_id, key, token_object_id, token_object_label, request_id } = request;
    let key = create_key_request(v1::CreateKeyRequest { parent, key_id, key, request_id })?;
    let id = (!token_object_id.is_empty()).then(|| TokenObjectId::try_from(token_object_id.as_slice())).transpose();
    let id = id.map_err(|_too_long| {
        let rule = format!("has at most {} bytes, not {}", TokenObjectId::MOST_BYTES, token_object_id.len());
        invalid("token_object_id", rule)
    })?;
    let label = (!token_object_label.is_empty()).then_some(token_object_label);
    Ok(AdoptKey { key, object: ObjectQuery { id, label } })
}

pub(crate) fn create_key_request(request: v1::CreateKeyRequest) -> Result<CreateKey, Error> {
    let v1::CreateKeyRequest { parent, key_id, key, request_id: id } = request;
    let ring: RingName = name("parent", &parent)?;
    let key_id = Id::parse("the key id", &key_id).map_err(|error| invalid("key_id", error.to_string()))?;
    let key = key.ok_or_else(|| invalid("key", "must be given, with its algorithm"))?;
    let v1::Key {
        name: key_name,
        algorithm: number,
        allow_digest,
        labels,
        primary_version,
        create_time,
        update_time,
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
        signature_count,
        daily_signature_count,
        max_uses_per_second,
        max_burst,
        max_concurrent_uses,
        requires_caller_signature,
    } = key;
    // What the service sets is not taken from a caller, and not silently dropped either.
    for (field, is_empty) in [
        ("key.name", key_name.is_empty()),
        ("key.primary_version", primary_version.is_empty()),
        ("key.create_time", create_time.is_none()),
        ("key.update_time", update_time.is_none()),
        ("key.etag", etag.is_empty()),
        ("key.signature_count", signature_count == 0),
        ("key.daily_signature_count", daily_signature_count == 0),
    ] {
        if !is_empty {
            return Err(invalid(field, "is set by the service; leave it empty"));
        }
    }
    Ok(CreateKey {
        name: ring.key(key_id),
        algorithm: algorithm("key.algorithm", number)?,
        allow_digest,
        labels: labels.into_iter().collect(),
        max_jwt_lifetime: optional_duration("key.max_jwt_lifetime", max_jwt_lifetime)?,
        rules: RuleChanges {
            owner: (!owner.is_empty()).then_some(Some(owner)),
            deletion_protection: Some(deletion_protection),
            rotation_period: Some(optional_duration("key.rotation_period", rotation_period)?),
            next_rotation: next_rotation_time.map(|at| time("key.next_rotation_time", at)).transpose()?,
            publish_ahead: Some(optional_duration("key.publish_ahead", publish_ahead)?),
            signing_period: Some(optional_duration("key.signing_period", signing_period)?),
            max_signatures: Some(limit(max_signatures)),
            max_daily_signatures: Some(limit(max_daily_signatures)),
            max_uses_per_second: Some(limit(max_uses_per_second)),
            max_burst: Some(limit(max_burst)),
            max_concurrent_uses: Some(limit(max_concurrent_uses)),
            requires_caller_signature: Some(requires_caller_signature),
        },
        request_id: request_id(id)?,
    })
}

/// A limit; none where it is 0.
pub(super) fn limit<N: Default + PartialEq>(number: N) -> Option<N> {
    (number != N::default()).then_some(number)
}

pub(crate) fn get_key_request(request: v1::GetKeyRequest) -> Result<KeyName, Error> {
    let v1::GetKeyRequest { name: text } = request;
    name("name", &text)
}

pub(crate) fn list_keys_request(request: v1::ListKeysRequest) -> Result<(RingName, PageOf), Error> {
    let v1::ListKeysRequest { parent, page_size, page_token } = request;
    let page = PageOf::parse(&format!("ListKeys {parent}"), page_size, &page_token)?;
    Ok((name("parent", &parent)?, page))
}

pub(crate) fn key(key: &KeyView) -> v1::Key {
    let KeyView { entry: key, usage } = key;
    let KeyRules {
        owner,
        deletion_protection,
        rotation_period_seconds,
        next_rotation: _,
        publish_ahead_seconds,
        signing_period_seconds,
        limits,
        pace: Pace { per_second, burst, concurrent },
        requires_caller_signature,
    } = &key.rules;
    let period = |seconds: &Option<u32>| seconds.map(|seconds| duration_proto(Duration::from_secs(seconds.into())));
    v1::Key {
        name: key.name.to_string(),
        algorithm: algorithm_number(key.algorithm),
        allow_digest: key.allow_digest,
        labels: key.labels.iter().map(|(label, value)| (label.clone(), value.clone())).collect(),
        primary_version: key.primary_version.map(|number| key.name.version(number).to_string()).unwrap_or_default(),
        create_time: Some(timestamp(key.created)),
        update_time: Some(timestamp(key.updated)),
        etag: key.etag.clone(),
        max_jwt_lifetime: key.max_jwt_lifetime().map(duration_proto),
        owner: owner.clone().unwrap_or_default(),
        deletion_protection: *deletion_protection,
        rotation_period: period(rotation_period_seconds),
        next_rotation_time: key.next_rotation().map(timestamp),
        publish_ahead: period(publish_ahead_seconds),
        signing_period: period(signing_period_seconds),
        max_signatures: limits.total.unwrap_or(0),
        max_daily_signatures: limits.daily.unwrap_or(0),
        max_uses_per_second: per_second.unwrap_or(0),
        max_burst: burst.unwrap_or(0),
        max_concurrent_uses: concurrent.unwrap_or(0),
        requires_caller_signature: *requires_caller_signature,
        signature_count: usage.total,
        daily_signature_count: usage.today,
    }
}

pub(crate) fn rotate_key_request(request: v1::RotateKeyRequest) -> Result<RotateKey, Error> {
    let v1::RotateKeyRequest { name: text, etag, request_id: id } = request;
    let etag = (!etag.is_empty()).then_some(etag);
    Ok(RotateKey { name: name("name", &text)?, etag, request_id: request_id(id)? })
}

pub(crate) fn list_key_versions_request(request: v1::ListKeyVersionsRequest) -> Result<(KeyName, PageOf), Error> {
    let v1::ListKeyVersionsRequest { parent, page_size, page_token } = request;
    let page = PageOf::parse(&format!("ListKeyVersions {parent}"), page_size, &page_token)?;
    Ok((name("parent", &parent)?, page))
}

pub(crate) fn get_key_version_request(request: v1::GetKeyVersionRequest) -> Result<KeyVersionName, Error> {
    let v1::GetKeyVersionRequest { name: text } = request;
    name("name", &text)
}

pub(crate) fn key_version(version: &VersionEntry) -> v1::KeyVersion {
    v1::KeyVersion {
        name: version.name.to_string(),
        state: state_number(version.state),
        algorithm: algorithm_number(version.algorithm),
        create_time: Some(timestamp(version.created)),
        generate_time: version.generated.map(timestamp),
        state_change_time: Some(timestamp(version.state_changed)),
        public_key_sha256: version.public.as_ref().map(|public| public.spki_sha256().to_vec()).unwrap_or_default(),
        token_object_id: version.object_id().as_bytes().to_vec(),
        activate_time: version.activated().or(version.life.activation).map(timestamp),
        compromise_time: version.life.compromised.map(timestamp),
        destroy_time: version.life.destroy_at.map(timestamp),
        certificate_chain: version.life.certificates.clone(),
        origin: origin_number(version.adoption.as_ref()),
        extractable: version.adoption.as_ref().is_some_and(|adoption| adoption.extractable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;
    use chancery_model::Algorithm;

    fn request() -> v1::CreateKeyRequest {
        let key = v1::Key { algorithm: v1::Algorithm::Ed25519.into(), ..v1::Key::default() };
        v1::CreateKeyRequest {
            parent: "keyRings/payments".to_owned(),
            key_id: "jwt".to_owned(),
            key: Some(key),
            request_id: String::new(),
        }
    }

    fn refused(request: v1::CreateKeyRequest) -> (String, String) {
        violation(create_key_request(request).unwrap_err())
    }

    #[test]
    fn a_new_key_is_read_whole() {
        let create = create_key_request(request()).unwrap();
        assert_eq!(create.name.to_string(), "keyRings/payments/keys/jwt");
        assert_eq!((create.algorithm, create.allow_digest, create.request_id), (Algorithm::Ed25519, false, None));
    }

    #[test]
    fn parent_id_key_and_algorithm_must_be_there() {
        assert_eq!(refused(v1::CreateKeyRequest { parent: String::new(), ..request() }).0, "parent");
        let (field, description) = refused(v1::CreateKeyRequest { key_id: "JWT".to_owned(), ..request() });
        assert_eq!(field, "key_id");
        assert_eq!(description, "the key id must match [a-z][a-z0-9-]{0,62} (ASCII)");
        assert_eq!(refused(v1::CreateKeyRequest { key: None, ..request() }).0, "key");
        let (field, description) = refused(v1::CreateKeyRequest { key: Some(v1::Key::default()), ..request() });
        assert_eq!((field.as_str(), description.as_str()), ("key.algorithm", "must be given"));
        assert_eq!(refused(v1::CreateKeyRequest { request_id: "7".to_owned(), ..request() }).0, "request_id");
    }

    #[test]
    fn what_the_service_sets_is_not_taken_from_a_caller() {
        let with = |set: fn(&mut v1::Key)| {
            let mut request = request();
            set(request.key.as_mut().unwrap());
            refused(request)
        };
        let expected = "is set by the service; leave it empty";
        for (field, set) in [
            ("key.name", (|key| key.name = "keyRings/payments/keys/jwt".to_owned()) as fn(&mut v1::Key)),
            ("key.primary_version", |key| key.primary_version = "1".to_owned()),
            ("key.create_time", |key| key.create_time = Some(prost_types::Timestamp::default())),
            ("key.update_time", |key| key.update_time = Some(prost_types::Timestamp::default())),
            ("key.etag", |key| key.etag = "x".to_owned()),
        ] {
            assert_eq!(with(set), (field.to_owned(), expected.to_owned()));
        }
    }

    #[test]
    fn a_key_to_be_adopted_is_read_whole() {
        let adopt = |id: &[u8], label: &str| {
            let v1::CreateKeyRequest { parent, key_id, key, request_id } = request();
            adopt_key_request(v1::AdoptKeyRequest {
                parent,
                key_id,
                key,
                token_object_id: id.to_vec(),
                token_object_label: label.to_owned(),
                request_id,
            })
        };
        let read = adopt(&[1, 2], "legacy").unwrap();
        assert_eq!(read.key, create_key_request(request()).unwrap());
        assert_eq!((read.object.id, read.object.label.as_deref()), (Some("0102".parse().unwrap()), Some("legacy")));
        let read = adopt(&[], "").unwrap();
        assert_eq!((read.object.id, read.object.label), (None, None));
        let (field, description) = violation(adopt(&[1; 65], "").unwrap_err());
        assert_eq!((field.as_str(), description.as_str()), ("token_object_id", "has at most 64 bytes, not 65"));
    }

    #[test]
    fn a_page_token_of_another_ring_is_refused() {
        let list = |parent: &str, page_token: &str| {
            let request =
                v1::ListKeysRequest { parent: parent.to_owned(), page_size: 1, page_token: page_token.to_owned() };
            list_keys_request(request)
        };
        let token = list("keyRings/a", "").unwrap().1.next(Some("k"));
        assert!(list("keyRings/a", &token).is_ok());
        assert_eq!(violation(list("keyRings/b", &token).unwrap_err()).0, "page_token");
    }
}

//! What the tests of the life cycle ask for, with less writing.

#![allow(clippy::unwrap_used, reason = "these functions run inside tests, which stop at the first surprise")]

use std::time::Duration;

use chancery_api::v1;
use chancery_client::Client;
use tonic::Status;

/// A version as it is now.
pub async fn get_version(client: &Client, name: &str) -> v1::KeyVersion {
    client.keys().get_key_version(v1::GetKeyVersionRequest { name: name.to_owned() }).await.unwrap().into_inner()
}

/// A key as it is now.
pub async fn get_key(client: &Client, name: &str) -> v1::Key {
    client.keys().get_key(v1::GetKeyRequest { name: name.to_owned() }).await.unwrap().into_inner()
}

/// SuspendKeyVersion.
pub async fn suspend(client: &Client, name: &str) -> Result<v1::KeyVersion, Status> {
    let request = v1::SuspendKeyVersionRequest { name: name.to_owned(), reason: "a test".to_owned() };
    let answer = client.keys().suspend_key_version(request).await?.into_inner();
    Ok(answer.key_version.unwrap())
}

/// ResumeKeyVersion.
pub async fn resume(client: &Client, name: &str) -> Result<v1::KeyVersion, Status> {
    let request = v1::ResumeKeyVersionRequest { name: name.to_owned(), reason: "a test".to_owned() };
    client.keys().resume_key_version(request).await.map(tonic::Response::into_inner)
}

/// DeactivateKeyVersion.
pub async fn deactivate(client: &Client, name: &str) -> Result<v1::KeyVersion, Status> {
    let request = v1::DeactivateKeyVersionRequest { name: name.to_owned(), reason: "a test".to_owned() };
    let answer = client.keys().deactivate_key_version(request).await?.into_inner();
    Ok(answer.key_version.unwrap())
}

/// MarkKeyVersionCompromised.
pub async fn compromise(client: &Client, name: &str) -> Result<v1::KeyVersion, Status> {
    let request = v1::MarkKeyVersionCompromisedRequest { name: name.to_owned(), reason: "a test".to_owned() };
    let answer = client.keys().mark_key_version_compromised(request).await?.into_inner();
    Ok(answer.key_version.unwrap())
}

/// ScheduleKeyVersionDestruction.
pub async fn schedule(client: &Client, name: &str, grace: Option<Duration>) -> Result<v1::KeyVersion, Status> {
    let request = v1::ScheduleKeyVersionDestructionRequest {
        name: name.to_owned(),
        reason: "a test".to_owned(),
        grace_period: grace
            .map(|grace| prost_types::Duration { seconds: grace.as_secs().try_into().unwrap(), nanos: 0 }),
    };
    let answer = client.keys().schedule_key_version_destruction(request).await?.into_inner();
    Ok(answer.key_version.unwrap())
}

/// CancelKeyVersionDestruction.
pub async fn cancel(client: &Client, name: &str) -> Result<v1::KeyVersion, Status> {
    let request = v1::CancelKeyVersionDestructionRequest { name: name.to_owned(), reason: "a test".to_owned() };
    client.keys().cancel_key_version_destruction(request).await.map(tonic::Response::into_inner)
}

/// UpdateKey with a mask.
pub async fn update(client: &Client, key: v1::Key, paths: &[&str]) -> Result<v1::Key, Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = v1::UpdateKeyRequest { key: Some(key), update_mask: Some(prost_types::FieldMask { paths }) };
    client.keys().update_key(request).await.map(tonic::Response::into_inner)
}

/// Whole seconds, as the API has them.
#[must_use]
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

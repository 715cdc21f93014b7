//! The calls of KeyService that change a key, take a version through its life, or freeze a ring. Sent once: a repeated call could not tell its
//! own success from somebody else's.

use std::time::Duration;

use chancery_api::v1;
use chancery_api::v1::key_service_client::KeyServiceClient;
use chancery_model::{KeyVersionName, RingName};

use super::settings::proto_duration;
use super::{FrozenRing, Key, KeyRing, KeyUpdate, KeyVersion, Stopped};
use crate::retry::Repeat;
use crate::{Client, ClientError};

impl Client {
    /// Changes what is laid down for a key.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn update_key(&self, update: KeyUpdate) -> Result<Key, ClientError> {
        self.call(Repeat::Never, update.into_request(), |connection, request| async move {
            KeyServiceClient::new(connection).update_key(request).await
        })
        .await?
        .try_into()
    }

    /// Stops all use of a ring's keys but verification; answers when nothing of it is under way any more.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn freeze_key_ring(&self, name: &RingName, reason: &str) -> Result<FrozenRing, ClientError> {
        let request = v1::FreezeKeyRingRequest { name: name.to_string(), reason: reason.to_owned() };
        let v1::FreezeKeyRingResponse { key_ring, open_intents } = self
            .call(Repeat::Never, request, |connection, request| async move {
                KeyServiceClient::new(connection).freeze_key_ring(request).await
            })
            .await?;
        let absent = || ClientError::Answer { what: "the key ring that was frozen is missing".to_owned() };
        Ok(FrozenRing { ring: key_ring.ok_or_else(absent)?.try_into()?, open_intents })
    }

    /// Lets the keys of a frozen ring be used again.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn unfreeze_key_ring(&self, name: &RingName, reason: &str) -> Result<KeyRing, ClientError> {
        let request = v1::UnfreezeKeyRingRequest { name: name.to_string(), reason: reason.to_owned() };
        self.call(Repeat::Never, request, |connection, request| async move {
            KeyServiceClient::new(connection).unfreeze_key_ring(request).await
        })
        .await?
        .try_into()
    }

    /// Stops an ACTIVE version from signing; answers when no signature of it is under way any more.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn suspend_key_version(&self, name: &KeyVersionName, reason: &str) -> Result<Stopped, ClientError> {
        let request = v1::SuspendKeyVersionRequest { name: name.to_string(), reason: reason.to_owned() };
        let v1::SuspendKeyVersionResponse { key_version, open_intents } = self
            .call(Repeat::Never, request, |connection, request| async move {
                KeyServiceClient::new(connection).suspend_key_version(request).await
            })
            .await?;
        stopped(key_version, open_intents)
    }

    /// Lets a SUSPENDED version sign again.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn resume_key_version(&self, name: &KeyVersionName, reason: &str) -> Result<KeyVersion, ClientError> {
        let request = v1::ResumeKeyVersionRequest { name: name.to_string(), reason: reason.to_owned() };
        self.call(Repeat::Never, request, |connection, request| async move {
            KeyServiceClient::new(connection).resume_key_version(request).await
        })
        .await?
        .try_into()
    }

    /// Retires a version for good: it verifies, and never signs again. Answers as [`Client::suspend_key_version`] does.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn deactivate_key_version(&self, name: &KeyVersionName, reason: &str) -> Result<Stopped, ClientError> {
        let request = v1::DeactivateKeyVersionRequest { name: name.to_string(), reason: reason.to_owned() };
        let v1::DeactivateKeyVersionResponse { key_version, open_intents } = self
            .call(Repeat::Never, request, |connection, request| async move {
                KeyServiceClient::new(connection).deactivate_key_version(request).await
            })
            .await?;
        stopped(key_version, open_intents)
    }

    /// Says that others may sign with a version, which cannot be taken back. Answers as [`Client::suspend_key_version`] does.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn mark_key_version_compromised(
        &self,
        name: &KeyVersionName,
        reason: &str,
    ) -> Result<Stopped, ClientError> {
        let request = v1::MarkKeyVersionCompromisedRequest { name: name.to_string(), reason: reason.to_owned() };
        let v1::MarkKeyVersionCompromisedResponse { key_version, open_intents } = self
            .call(Repeat::Never, request, |connection, request| async move {
                KeyServiceClient::new(connection).mark_key_version_compromised(request).await
            })
            .await?;
        stopped(key_version, open_intents)
    }

    /// Stops a version, and has it destroyed when the grace period is over: whole seconds, 30 days where not given. Answers
    /// as [`Client::suspend_key_version`] does.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn schedule_key_version_destruction(
        &self,
        name: &KeyVersionName,
        grace_period: Option<Duration>,
        reason: &str,
    ) -> Result<Stopped, ClientError> {
        let request = v1::ScheduleKeyVersionDestructionRequest {
            name: name.to_string(),
            reason: reason.to_owned(),
            grace_period: grace_period.map(proto_duration),
        };
        let v1::ScheduleKeyVersionDestructionResponse { key_version, open_intents } = self
            .call(Repeat::Never, request, |connection, request| async move {
                KeyServiceClient::new(connection).schedule_key_version_destruction(request).await
            })
            .await?;
        stopped(key_version, open_intents)
    }

    /// Takes back a destruction that has not begun.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn cancel_key_version_destruction(
        &self,
        name: &KeyVersionName,
        reason: &str,
    ) -> Result<KeyVersion, ClientError> {
        let request = v1::CancelKeyVersionDestructionRequest { name: name.to_string(), reason: reason.to_owned() };
        self.call(Repeat::Never, request, |connection, request| async move {
            KeyServiceClient::new(connection).cancel_key_version_destruction(request).await
        })
        .await?
        .try_into()
    }
}

fn stopped(version: Option<v1::KeyVersion>, open_intents: Vec<u64>) -> Result<Stopped, ClientError> {
    let absent = || ClientError::Answer { what: "the version that was stopped is missing".to_owned() };
    Ok(Stopped { version: version.ok_or_else(absent)?.try_into()?, open_intents })
}

//! The calls of KeyService.

use chancery_api::v1;
use chancery_api::v1::key_service_client::KeyServiceClient;
use chancery_model::{KeyName, KeyVersionName, RingName};

use super::settings::proto_duration;
use super::{Key, KeyRing, KeyVersion, NewKey, Rotation, TokenObject, new_request_id};
use crate::convert::algorithm_to_proto;
use crate::pages::PAGE_SIZE;
use crate::retry::Repeat;
use crate::{Client, ClientError, Pages};

impl Client {
    /// The key rings that the caller may see, by name.
    #[must_use]
    pub fn key_rings(&self) -> Pages<KeyRing> {
        let client = self.clone();
        Pages::new(move |page_token| {
            let client = client.clone();
            async move {
                let request = v1::ListKeyRingsRequest { page_size: PAGE_SIZE, page_token };
                let v1::ListKeyRingsResponse { key_rings, next_page_token } = client
                    .call(Repeat::Safe, request, |connection, request| async move {
                        KeyServiceClient::new(connection).list_key_rings(request).await
                    })
                    .await?;
                Ok((all(key_rings), next_page_token))
            }
        })
    }

    /// A key ring.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn key_ring(&self, name: &RingName) -> Result<KeyRing, ClientError> {
        let request = v1::GetKeyRingRequest { name: name.to_string() };
        self.call(Repeat::Safe, request, |connection, request| async move {
            KeyServiceClient::new(connection).get_key_ring(request).await
        })
        .await?
        .try_into()
    }

    /// Creates a key; its first version is made in the token (an RSA-4096 key takes seconds). Repeated by itself where that
    /// can help, with the same request id: at most one key is made. Where an error leaves open whether it was made (ABORTED,
    /// no answer in time), call again with the same [`NewKey::request_id`].
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn create_key(&self, key: NewKey) -> Result<Key, ClientError> {
        self.call(Repeat::Safe, into_request(key)?, |connection, request| async move {
            KeyServiceClient::new(connection).create_key(request).await
        })
        .await?
        .try_into()
    }

    /// Brings a key that is in the ring's token already under management, as version 1 of a new key. Repeated by itself as
    /// [`Client::create_key`] is.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn adopt_key(&self, key: NewKey, object: TokenObject) -> Result<Key, ClientError> {
        let TokenObject { id, label } = object;
        let v1::CreateKeyRequest { parent, key_id, key, request_id } = into_request(key)?;
        let request = v1::AdoptKeyRequest {
            parent,
            key_id,
            key,
            token_object_id: id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            token_object_label: label.unwrap_or_default(),
            request_id,
        };
        self.call(Repeat::Safe, request, |connection, request| async move {
            KeyServiceClient::new(connection).adopt_key(request).await
        })
        .await?
        .try_into()
    }

    /// A key.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn key(&self, name: &KeyName) -> Result<Key, ClientError> {
        let request = v1::GetKeyRequest { name: name.to_string() };
        self.call(Repeat::Safe, request, |connection, request| async move {
            KeyServiceClient::new(connection).get_key(request).await
        })
        .await?
        .try_into()
    }

    /// The keys of a ring, by name.
    #[must_use]
    pub fn list_keys(&self, ring: &RingName) -> Pages<Key> {
        let (client, parent) = (self.clone(), ring.to_string());
        Pages::new(move |page_token| {
            let (client, parent) = (client.clone(), parent.clone());
            async move {
                let request = v1::ListKeysRequest { parent, page_size: PAGE_SIZE, page_token };
                let v1::ListKeysResponse { keys, next_page_token } = client
                    .call(Repeat::Safe, request, |connection, request| async move {
                        KeyServiceClient::new(connection).list_keys(request).await
                    })
                    .await?;
                Ok((all(keys), next_page_token))
            }
        })
    }

    /// Makes a new version, which is the primary one from then on; one that is made and published already takes over in its
    /// place. The version before stays ACTIVE until it is suspended or deactivated.
    /// Repeated by itself as [`Client::create_key`] is.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn rotate_key(&self, name: &KeyName, rotation: Rotation) -> Result<KeyVersion, ClientError> {
        let Rotation { etag, request_id } = rotation;
        let request = v1::RotateKeyRequest {
            name: name.to_string(),
            etag: etag.unwrap_or_default(),
            request_id: request_id.map_or_else(new_request_id, Ok)?,
        };
        self.call(Repeat::Safe, request, |connection, request| async move {
            KeyServiceClient::new(connection).rotate_key(request).await
        })
        .await?
        .try_into()
    }

    /// A key's versions, newest first.
    #[must_use]
    pub fn key_versions(&self, name: &KeyName) -> Pages<KeyVersion> {
        let (client, parent) = (self.clone(), name.to_string());
        Pages::new(move |page_token| {
            let (client, parent) = (client.clone(), parent.clone());
            async move {
                let request = v1::ListKeyVersionsRequest { parent, page_size: PAGE_SIZE, page_token };
                let v1::ListKeyVersionsResponse { key_versions, next_page_token } = client
                    .call(Repeat::Safe, request, |connection, request| async move {
                        KeyServiceClient::new(connection).list_key_versions(request).await
                    })
                    .await?;
                Ok((all(key_versions), next_page_token))
            }
        })
    }

    /// A version.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn key_version(&self, name: &KeyVersionName) -> Result<KeyVersion, ClientError> {
        let request = v1::GetKeyVersionRequest { name: name.to_string() };
        self.call(Repeat::Safe, request, |connection, request| async move {
            KeyServiceClient::new(connection).get_key_version(request).await
        })
        .await?
        .try_into()
    }
}

fn into_request(key: NewKey) -> Result<v1::CreateKeyRequest, ClientError> {
    let NewKey { name, algorithm, allow_digest, labels, max_jwt_lifetime, settings, request_id } = key;
    Ok(v1::CreateKeyRequest {
        parent: name.ring_name().to_string(),
        key_id: name.key.to_string(),
        key: Some(v1::Key {
            algorithm: algorithm_to_proto(algorithm).into(),
            allow_digest,
            labels: labels.into_iter().collect(),
            max_jwt_lifetime: max_jwt_lifetime.map(proto_duration),
            ..settings.into_proto()
        }),
        request_id: request_id.map_or_else(new_request_id, Ok)?,
    })
}

fn all<P, T: TryFrom<P, Error = ClientError>>(items: Vec<P>) -> Vec<Result<T, ClientError>> {
    items.into_iter().map(T::try_from).collect()
}

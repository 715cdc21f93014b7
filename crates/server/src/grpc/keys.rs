//! KeyService.

use super::Office;
use crate::convert::{certificates, keys as convert, life_cycle};
use chancery_api::v1;
use chancery_api::v1::key_service_server::KeyService;
use chancery_core::Page;
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Keys(pub(crate) Office);

#[async_trait]
impl KeyService for Keys {
    async fn list_key_rings(
        &self,
        request: Request<v1::ListKeyRingsRequest>,
    ) -> Result<Response<v1::ListKeyRingsResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let page = convert::list_key_rings_request(message)?;
            let Page { items, next } = core.list_key_rings(&from, page.after()?, page.size).await?;
            let key_rings = items.into_iter().map(convert::key_ring).collect();
            Ok(v1::ListKeyRingsResponse { key_rings, next_page_token: page.next(next) })
        };
        self.0.handle(request, handler).await
    }

    async fn get_key_ring(&self, request: Request<v1::GetKeyRingRequest>) -> Result<Response<v1::KeyRing>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let name = convert::get_key_ring_request(message)?;
            core.get_key_ring(&from, name).await.map(convert::key_ring)
        };
        self.0.handle(request, handler).await
    }

    async fn freeze_key_ring(
        &self,
        request: Request<v1::FreezeKeyRingRequest>,
    ) -> Result<Response<v1::FreezeKeyRingResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = convert::freeze_request(message)?;
            core.freeze_key_ring(&from, name, reason).await.map(convert::freeze_response)
        };
        self.0.handle(request, handler).await
    }

    async fn unfreeze_key_ring(
        &self,
        request: Request<v1::UnfreezeKeyRingRequest>,
    ) -> Result<Response<v1::KeyRing>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = convert::unfreeze_request(message)?;
            core.unfreeze_key_ring(&from, name, reason).await.map(convert::key_ring)
        };
        self.0.handle(request, handler).await
    }

    async fn adopt_key(&self, request: Request<v1::AdoptKeyRequest>) -> Result<Response<v1::Key>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let adopt = convert::adopt_key_request(message)?;
            core.adopt_key(&from, adopt).await.map(|key| convert::key(&key))
        };
        self.0.handle(request, handler).await
    }

    async fn create_key(&self, request: Request<v1::CreateKeyRequest>) -> Result<Response<v1::Key>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let create = convert::create_key_request(message)?;
            core.create_key(&from, create).await.map(|key| convert::key(&key))
        };
        self.0.handle(request, handler).await
    }

    async fn get_key(&self, request: Request<v1::GetKeyRequest>) -> Result<Response<v1::Key>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let name = convert::get_key_request(message)?;
            core.get_key(&from, name).await.map(|key| convert::key(&key))
        };
        self.0.handle(request, handler).await
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Result<Response<v1::ListKeysResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (ring, page) = convert::list_keys_request(message)?;
            let Page { items, next } = core.list_keys(&from, ring, page.after()?, page.size).await?;
            let keys = items.iter().map(convert::key).collect();
            Ok(v1::ListKeysResponse { keys, next_page_token: page.next(next) })
        };
        self.0.handle(request, handler).await
    }

    async fn update_key(&self, request: Request<v1::UpdateKeyRequest>) -> Result<Response<v1::Key>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let update = life_cycle::update_key_request(message)?;
            core.update_key(&from, update).await.map(|key| convert::key(&key))
        };
        self.0.handle(request, handler).await
    }

    async fn rotate_key(&self, request: Request<v1::RotateKeyRequest>) -> Result<Response<v1::KeyVersion>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let rotate = convert::rotate_key_request(message)?;
            core.rotate_key(&from, rotate).await.map(|version| convert::key_version(&version))
        };
        self.0.handle(request, handler).await
    }

    async fn list_key_versions(
        &self,
        request: Request<v1::ListKeyVersionsRequest>,
    ) -> Result<Response<v1::ListKeyVersionsResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (key, page) = convert::list_key_versions_request(message)?;
            let Page { items, next } = core.list_key_versions(&from, key, page.number()?, page.size).await?;
            let key_versions = items.iter().map(|version| convert::key_version(version)).collect();
            Ok(v1::ListKeyVersionsResponse { key_versions, next_page_token: page.next(next) })
        };
        self.0.handle(request, handler).await
    }

    async fn get_key_version(
        &self,
        request: Request<v1::GetKeyVersionRequest>,
    ) -> Result<Response<v1::KeyVersion>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let name = convert::get_key_version_request(message)?;
            core.get_key_version(&from, name).await.map(|version| convert::key_version(&version))
        };
        self.0.handle(request, handler).await
    }

    async fn suspend_key_version(
        &self,
        request: Request<v1::SuspendKeyVersionRequest>,
    ) -> Result<Response<v1::SuspendKeyVersionResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = life_cycle::suspend_request(message)?;
            core.suspend_key_version(&from, name, reason).await.map(life_cycle::suspend_response)
        };
        self.0.handle(request, handler).await
    }

    async fn resume_key_version(
        &self,
        request: Request<v1::ResumeKeyVersionRequest>,
    ) -> Result<Response<v1::KeyVersion>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = life_cycle::resume_request(message)?;
            core.resume_key_version(&from, name, reason).await.map(|version| convert::key_version(&version))
        };
        self.0.handle(request, handler).await
    }

    async fn deactivate_key_version(
        &self,
        request: Request<v1::DeactivateKeyVersionRequest>,
    ) -> Result<Response<v1::DeactivateKeyVersionResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = life_cycle::deactivate_request(message)?;
            core.deactivate_key_version(&from, name, reason).await.map(life_cycle::deactivate_response)
        };
        self.0.handle(request, handler).await
    }

    async fn mark_key_version_compromised(
        &self,
        request: Request<v1::MarkKeyVersionCompromisedRequest>,
    ) -> Result<Response<v1::MarkKeyVersionCompromisedResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = life_cycle::compromised_request(message)?;
            core.mark_key_version_compromised(&from, name, reason).await.map(life_cycle::compromised_response)
        };
        self.0.handle(request, handler).await
    }

    async fn schedule_key_version_destruction(
        &self,
        request: Request<v1::ScheduleKeyVersionDestructionRequest>,
    ) -> Result<Response<v1::ScheduleKeyVersionDestructionResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, grace, reason) = life_cycle::schedule_destruction_request(message)?;
            let stopped = core.schedule_key_version_destruction(&from, name, grace, reason).await;
            stopped.map(life_cycle::schedule_destruction_response)
        };
        self.0.handle(request, handler).await
    }

    async fn cancel_key_version_destruction(
        &self,
        request: Request<v1::CancelKeyVersionDestructionRequest>,
    ) -> Result<Response<v1::KeyVersion>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = life_cycle::cancel_destruction_request(message)?;
            let version = core.cancel_key_version_destruction(&from, name, reason).await;
            version.map(|version| convert::key_version(&version))
        };
        self.0.handle(request, handler).await
    }

    async fn create_certificate_signing_request(
        &self,
        request: Request<v1::CreateCertificateSigningRequestRequest>,
    ) -> Result<Response<v1::CreateCertificateSigningRequestResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let request = certificates::signing_request_request(message)?;
            let answer = core.create_certificate_signing_request(&from, request).await;
            answer.map(certificates::signing_request_response)
        };
        self.0.handle(request, handler).await
    }

    async fn set_certificate_chain(
        &self,
        request: Request<v1::SetCertificateChainRequest>,
    ) -> Result<Response<v1::KeyVersion>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, chain) = certificates::set_chain_request(message)?;
            core.set_certificate_chain(&from, name, chain).await.map(|version| convert::key_version(&version))
        };
        self.0.handle(request, handler).await
    }
}

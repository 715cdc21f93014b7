//! CallerService.

use super::Office;
use crate::convert::{api_keys, callers as convert};
use chancery_api::v1;
use chancery_api::v1::caller_service_server::CallerService;
use chancery_core::Page;
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Callers(pub(crate) Office);

#[async_trait]
impl CallerService for Callers {
    async fn create_caller(&self, request: Request<v1::CreateCallerRequest>) -> Result<Response<v1::Caller>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let new = convert::create_caller_request(message)?;
            core.create_caller(&from, new).await.map(|view| convert::caller(&view))
        };
        self.0.handle(request, handler).await
    }

    async fn get_caller(&self, request: Request<v1::GetCallerRequest>) -> Result<Response<v1::Caller>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let id = convert::get_caller_request(message)?;
            core.get_caller(&from, id).await.map(|view| convert::caller(&view))
        };
        self.0.handle(request, handler).await
    }

    async fn list_callers(
        &self,
        request: Request<v1::ListCallersRequest>,
    ) -> Result<Response<v1::ListCallersResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let page = convert::list_callers_request(message)?;
            let Page { items, next } = core.list_callers(&from, page.after()?, page.size).await?;
            let callers = items.iter().map(convert::caller).collect();
            Ok(v1::ListCallersResponse { callers, next_page_token: page.next(next) })
        };
        self.0.handle(request, handler).await
    }

    async fn update_caller(&self, request: Request<v1::UpdateCallerRequest>) -> Result<Response<v1::Caller>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let change = convert::update_caller_request(message)?;
            core.update_caller(&from, change).await.map(|view| convert::caller(&view))
        };
        self.0.handle(request, handler).await
    }

    async fn suspend_caller(
        &self,
        request: Request<v1::SuspendCallerRequest>,
    ) -> Result<Response<v1::SuspendCallerResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (id, reason) = convert::suspend_caller_request(message)?;
            core.suspend_caller(&from, id, reason).await.map(convert::suspend_caller_response)
        };
        self.0.handle(request, handler).await
    }

    async fn resume_caller(&self, request: Request<v1::ResumeCallerRequest>) -> Result<Response<v1::Caller>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (id, reason) = convert::resume_caller_request(message)?;
            core.resume_caller(&from, id, reason).await.map(|view| convert::caller(&view))
        };
        self.0.handle(request, handler).await
    }

    async fn issue_api_key(
        &self,
        request: Request<v1::IssueApiKeyRequest>,
    ) -> Result<Response<v1::IssueApiKeyResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let issue = api_keys::issue_request(message)?;
            core.issue_api_key(&from, issue).await.map(|issued| api_keys::issue_response(&issued))
        };
        self.0.handle(request, handler).await
    }

    async fn list_api_keys(
        &self,
        request: Request<v1::ListApiKeysRequest>,
    ) -> Result<Response<v1::ListApiKeysResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (caller, page) = api_keys::list_request(message)?;
            let Page { items, next } = core.list_api_keys(&from, caller, page.after_api_key()?, page.size).await?;
            let api_keys = items.iter().map(api_keys::api_key).collect();
            Ok(v1::ListApiKeysResponse { api_keys, next_page_token: page.next(next) })
        };
        self.0.handle(request, handler).await
    }

    async fn rotate_api_key(
        &self,
        request: Request<v1::RotateApiKeyRequest>,
    ) -> Result<Response<v1::RotateApiKeyResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let rotate = api_keys::rotate_request(message)?;
            core.rotate_api_key(&from, rotate).await.map(|issued| api_keys::rotate_response(&issued))
        };
        self.0.handle(request, handler).await
    }

    async fn revoke_api_key(&self, request: Request<v1::RevokeApiKeyRequest>) -> Result<Response<v1::ApiKey>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, reason) = api_keys::revoke_request(message)?;
            core.revoke_api_key(&from, name, reason).await.map(|view| api_keys::api_key(&view))
        };
        self.0.handle(request, handler).await
    }
}

//! PolicyService.

use super::Office;
use crate::convert::{access, policy as convert, replay};
use chancery_api::v1;
use chancery_api::v1::policy_service_server::PolicyService;
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Policy(pub(crate) Office);

#[async_trait]
impl PolicyService for Policy {
    async fn get_policy_set(
        &self,
        request: Request<v1::GetPolicySetRequest>,
    ) -> Result<Response<v1::PolicySet>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let v1::GetPolicySetRequest {} = message;
            core.get_policy_set(&from).await.map(convert::policy_set)
        };
        self.0.handle(request, handler).await
    }

    async fn apply_policy_set(
        &self,
        request: Request<v1::ApplyPolicySetRequest>,
    ) -> Result<Response<v1::PolicySet>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (documents, etag) = convert::apply_request(message)?;
            core.apply_policy_set(&from, documents, etag).await.map(convert::policy_set)
        };
        self.0.handle(request, handler).await
    }

    async fn validate_policy_set(
        &self,
        request: Request<v1::ValidatePolicySetRequest>,
    ) -> Result<Response<v1::ValidatePolicySetResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let documents = convert::validate_request(message);
            core.validate_policy_set(&from, documents).await.map(convert::validate_response)
        };
        self.0.handle(request, handler).await
    }

    async fn explain_authorization(
        &self,
        request: Request<v1::ExplainAuthorizationRequest>,
    ) -> Result<Response<v1::ExplainAuthorizationResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let question = convert::explain_request(message)?;
            core.explain(&from, question).await.map(convert::explain_response)
        };
        self.0.handle(request, handler).await
    }

    async fn list_effective_access(
        &self,
        request: Request<v1::ListEffectiveAccessRequest>,
    ) -> Result<Response<v1::ListEffectiveAccessResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (question, page) = access::request(message)?;
            let answer = core.list_effective_access(&from, question, page.place()?, page.size).await?;
            Ok(access::response(answer, &page))
        };
        self.0.handle(request, handler).await
    }

    async fn replay_policy_set(
        &self,
        request: Request<v1::ReplayPolicySetRequest>,
    ) -> Result<Response<v1::ReplayPolicySetResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (documents, query, page) = replay::request(message)?;
            let replayed = core.replay_policy_set(&from, documents, query, page.size).await?;
            Ok(replay::response(replayed, &page))
        };
        self.0.handle(request, handler).await
    }
}

//! TokenService.

use super::Office;
use crate::convert::tokens as convert;
use chancery_api::v1;
use chancery_api::v1::token_service_server::TokenService;
use chancery_core::Page;
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Tokens(pub(crate) Office);

#[async_trait]
impl TokenService for Tokens {
    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let page = convert::list_tokens_request(message)?;
            let Page { items, next } = core.list_tokens(&from, page.after()?, page.size).await?;
            let tokens = items.into_iter().map(convert::token).collect();
            Ok(v1::ListTokensResponse { tokens, next_page_token: page.next(next) })
        };
        self.0.handle(request, handler).await
    }

    async fn get_token(&self, request: Request<v1::GetTokenRequest>) -> Result<Response<v1::Token>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let id = convert::get_token_request(message)?;
            core.get_token(&from, id).await.map(convert::token)
        };
        self.0.handle(request, handler).await
    }

    async fn clear_pin_latch(&self, request: Request<v1::ClearPinLatchRequest>) -> Result<Response<v1::Token>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (id, reason) = convert::clear_pin_latch_request(message)?;
            core.clear_pin_latch(&from, id, reason).await.map(convert::token)
        };
        self.0.handle(request, handler).await
    }
}

//! AuditService.

use super::Office;
use crate::convert::audit::list_records_request;
use chancery_api::v1;
use chancery_api::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Audit(pub(crate) Office);

#[async_trait]
impl AuditService for Audit {
    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Result<Response<v1::ListRecordsResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let page = list_records_request(message)?;
            let found = core.list_records(&from, page.query.clone()).await?;
            page.response(found)
        };
        self.0.handle(request, handler).await
    }

    type WatchRecordsStream = tokio_stream::wrappers::ReceiverStream<Result<v1::WatchRecordsResponse, Status>>;

    async fn watch_records(
        &self,
        _request: Request<v1::WatchRecordsRequest>,
    ) -> Result<Response<Self::WatchRecordsStream>, Status> {
        Err(Status::unimplemented("WatchRecords"))
    }
}

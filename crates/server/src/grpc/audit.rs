//! AuditService.

use super::Office;
use super::answers::Answers;
use super::watch_records::watch;
use crate::convert::audit::{list_records_request, watch_records_request};
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

    type WatchRecordsStream = Answers<v1::WatchRecordsResponse>;

    async fn watch_records(
        &self,
        mut request: Request<v1::WatchRecordsRequest>,
    ) -> Result<Response<Self::WatchRecordsStream>, Status> {
        let opened = self.0.open(request.extensions_mut())?;
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (filter, start) = watch_records_request(message)?;
            core.watch_records(&from, filter, start)
        };
        let begun = self.0.handle(request, handler).await?;
        let office = self.0.clone();
        let deadline = opened.deadline.whole;
        Ok(begun.map(|begun| Answers::of(&self.0, deadline, |answers| watch(office, opened, begun, answers))))
    }
}

//! AuditService.

use super::Office;
use super::answers::Answers;
use super::watch_records::watch;
use crate::convert::audit::{list_records_request, watch_records_request};
use crate::convert::log::{consistency_proof, inclusion_proof, log_checkpoint};
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

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::LogCheckpoint>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let v1::GetCheckpointRequest {} = message;
            Ok(log_checkpoint(core.get_checkpoint(&from).await?))
        };
        self.0.handle(request, handler).await
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::InclusionProof>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let v1::GetInclusionProofRequest { record_index, tree_size } = message;
            let proof = core.get_inclusion_proof(&from, record_index, tree_size).await?;
            Ok(inclusion_proof(record_index, proof))
        };
        self.0.handle(request, handler).await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::ConsistencyProof>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let v1::GetConsistencyProofRequest { old_tree_size, new_tree_size } = message;
            let proof = core.get_consistency_proof(&from, old_tree_size, new_tree_size).await?;
            Ok(consistency_proof(old_tree_size, proof))
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

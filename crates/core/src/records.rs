//! Reading the record.

use chancery_model::Action;
use chancery_policy::{OperationContext, Resource};
use chancery_store::{RecordQuery, StoredRecord};

use crate::authorize::Asked;
use crate::{Chancery, Error, Requester};

impl Chancery {
    /// Records that match a query.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::Internal`] where the store cannot be read.
    pub async fn list_records(&self, from: &Requester, query: RecordQuery) -> Result<Vec<StoredRecord>, Error> {
        let asked = Asked::of(from, Action::ListRecords, &"auditLog");
        self.authorize(&self.snapshot(), asked, Resource::AuditLog, OperationContext::Plain)?;
        self.read_records(query).await
    }

    /// Records that match, for whoever may read them.
    pub(crate) async fn read_records(&self, query: RecordQuery) -> Result<Vec<StoredRecord>, Error> {
        let _place = self.inner.record_reads.acquire().await.map_err(|closed| Error::internal(closed.to_string()))?;
        let reader = self.inner.reader.clone();
        Ok(crate::blocking(move || reader.list_records(&query)).await??)
    }
}

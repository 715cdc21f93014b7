//! Reading the record.

use std::sync::Arc;

use chancery_model::Action;
use chancery_policy::{OperationContext, Resource};
use chancery_store::{RecordQuery, StoredRecord};
use tokio::time::timeout_at;

use crate::authorize::Asked;
use crate::{Chancery, Error, Requester};

impl Chancery {
    /// Records that match a query.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::DeadlineExceeded`] where so few match that looking for them takes longer;
    /// [`Error::Internal`] where the store cannot be read.
    pub async fn list_records(&self, from: &Requester, query: RecordQuery) -> Result<Vec<StoredRecord>, Error> {
        let asked = Asked::of(from, Action::ListRecords, &"auditLog");
        self.authorize(&self.snapshot(), asked, Resource::AuditLog, OperationContext::Plain)?;
        let Ok(place) = timeout_at(from.deadline, Arc::clone(&self.inner.listing).acquire_owned()).await else {
            return Err(Error::DeadlineExceeded { record_index: None });
        };
        let place = place.map_err(|closed| Error::internal(closed.to_string()))?;
        let (reader, until) = (self.inner.reader.clone(), from.deadline.into_std());
        let read = move || {
            // Goes on, and keeps its place, also where nobody waits for it any more.
            let _place = place;
            reader.list_records_until(&query, until)
        };
        Ok(crate::blocking(read).await??)
    }
}

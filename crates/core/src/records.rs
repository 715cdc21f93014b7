//! Reading the record.

use chancery_audit::Details;
use chancery_model::Action;
use chancery_policy::{OperationContext, Resource};
use chancery_store::{RecordPage, RecordQuery, StoredRecord};

use crate::authorize::Asked;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

impl Chancery {
    /// Records that match a query. A page may have fewer than were asked for, or none, and be gone on from all the same:
    /// it looks at a bounded number of records.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::DeadlineExceeded`]; [`Error::Internal`] where the store cannot be read.
    pub async fn list_records(&self, from: &Requester, query: RecordQuery) -> Result<RecordPage, Error> {
        let asked = Asked::of(from, Action::ListRecords, &"auditLog");
        self.authorize(&self.snapshot(), asked, Resource::AuditLog, OperationContext::Plain)?;
        let place = place_in(&self.inner.listing, from.deadline).await?;
        let (reader, until) = (self.inner.reader.clone(), from.deadline.into_std());
        let read = move || {
            let mut page = reader.list_records_until(&query, until)?;
            if let Some(digest) = &query.digest {
                page.records.retain(|record| is_of(record, digest));
            }
            Ok::<_, Error>(page)
        };
        blocking_in(place, read).await?
    }
}

/// Whether a record is of something with this digest. The store finds it by the first bytes, which somebody could make two
/// messages have in common.
fn is_of(record: &StoredRecord, digest: &[u8]) -> bool {
    let details = record.details.as_ref().and_then(|details| Details::from_json(&details.content).ok());
    details.and_then(|details| details.signed).is_some_and(|signed| signed.digest.as_bytes() == digest)
}

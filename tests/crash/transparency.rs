//! The Merkle log across kills: it still begins with what the last checkpoint says that a client saw.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::verify::{LogRecord, LogVerifier, Trusted, verify_database};
use chancery_client::Client;
use chancery_store::Reader;

use crate::campaign::{POLL, broken};
use crate::checker::{Checked, violation};

/// What a client of the log remembers.
#[derive(Debug)]
pub struct Follower {
    /// Has been through the records up to the last checkpoint but one.
    verifier: LogVerifier,
    seen: Option<SignedCheckpoint>,
}

impl Follower {
    /// Trusts the key that the log has at the beginning.
    pub fn begin(dev: &Path) -> Checked<Self> {
        let keys = chancery_core::kept_log_keys(&reader(dev)?).map_err(broken)?;
        Ok(Self { verifier: LogVerifier::new(keys), seen: None })
    }

    /// Remembers a checkpoint.
    pub fn saw(&mut self, seen: Option<SignedCheckpoint>) {
        self.seen = seen.or(self.seen.take());
    }

    /// Goes on through the records, to where the last checkpoint says that they are.
    pub fn follow(&mut self, dev: &Path) -> Checked {
        let Some(seen) = self.seen.take() else { return Ok(()) };
        let reader = reader(dev)?;
        let size = seen.unverified().size();
        if size < self.verifier.size() {
            return violation!("a checkpoint of {size} records after one of {}", self.verifier.size());
        }
        while self.verifier.size() < size {
            let first = self.verifier.size();
            let rows = reader.log_rows(first, u32::try_from(size - first).unwrap_or(u32::MAX)).map_err(broken)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let details = row.details.map(|details| (details.salt, details.content));
                let record = LogRecord { index: row.index, leaf: row.leaf, details, erased_by: row.erased_by };
                self.verifier.record(&record).map_err(broken)?;
            }
        }
        self.verifier.checkpoint(&seen).map_err(broken)
    }

    /// The whole log again, tiles and all, as the service left it.
    pub fn last_look(&mut self, dev: &Path) -> Checked {
        let reader = reader(dev)?;
        let log_keys = chancery_core::kept_log_keys(&reader).map_err(broken)?;
        let trusted = Trusted { log_keys, checkpoints: self.seen.take().into_iter().collect(), ..Trusted::default() };
        let report = verify_database(&reader, None, trusted, |_, _| ()).map_err(broken)?;
        if report.missing.as_ref().is_none_or(|missing| missing.removed > 0) {
            return violation!("details were removed off the record: {:?}", report.missing);
        }
        if report.attested < self.verifier.size() || report.attested != report.size {
            return violation!("the log ends with {report:?}, and {} records were signed for", self.verifier.size());
        }
        Ok(())
    }
}

fn reader(dev: &Path) -> Checked<Reader> {
    chancery_store::look_into(&dev.join("chancery.db")).map_err(broken)
}

/// Asks for the newest checkpoint until it is told to stop, or the service is gone; the last one that it was given.
pub async fn watch(client: Client, stop: Arc<AtomicBool>) -> Option<SignedCheckpoint> {
    let mut seen = None;
    while !stop.load(Ordering::SeqCst) {
        match client.log_resource("checkpoint").await {
            Ok(checkpoint) => seen = Some(SignedCheckpoint::parse(&checkpoint).unwrap()),
            // Killed; or there is none yet.
            Err(_) => tokio::time::sleep(POLL).await,
        }
        tokio::time::sleep(4 * POLL).await;
    }
    seen
}

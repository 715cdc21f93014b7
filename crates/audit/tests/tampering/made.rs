//! Logs, made by the code that the service makes its own by.

use crate::notaries::Notary;
use crate::support::{act, intent, outcome, start};
use chancery_audit::archive::{Archive, Copied, CopyError, Mending};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::export::{Exported, ExportedLog, export_database};
use chancery_audit::note::VerifierKey;
use chancery_audit::verify::{Fault, Report, Trusted, VerifyError, Witnessed, verify_database, verify_exported};
use chancery_audit::witness::WitnessPolicy;
use chancery_audit::{Act, Details, EraseStep, Erased, Intent, Log, OutcomeResult, Recorded, erasable};
use chancery_model::{Timestamp, Uid};
use chancery_store::{Epoch, Reader, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

pub struct Made {
    folder: TempDir,
    pub notary: Notary,
    pub reader: Reader,
    log: Log,
    epoch: Epoch,
    hour: i64,
}

impl Made {
    pub fn empty() -> Self {
        let folder = TempDir::new().unwrap();
        let (log, reader) = start(&folder.path().join("chancery.db"));
        let epoch = reader.load_state().unwrap().epoch;
        Self { folder, notary: Notary::log("log.example/chancery", 1), reader, log, epoch, hour: 0 }
    }

    /// A small log with every kind of connection between records, an open intent, and checkpoints after 4 and after all.
    pub async fn small() -> Self {
        let mut made = Self::empty();
        made.act().await;
        made.intents(2, true).await;
        made.sign().await;
        made.act().await;
        made.intents(2, true).await;
        made.intents(1, false).await;
        made.sign().await;
        assert_eq!(made.reader.log_end().unwrap().leaves, 9);
        made
    }

    /// A log of so many open intents, under one checkpoint.
    pub async fn of_intents(count: usize) -> Self {
        let mut made = Self::empty();
        made.intents(count, false).await;
        made.sign().await;
        made
    }

    pub async fn act(&mut self) {
        self.epoch = self.log.note(self.epoch, act(false)).await.unwrap().epoch;
    }

    pub async fn intents(&mut self, count: usize, ended: bool) {
        let details = Details { caller: Some("checkout".into()), ..Details::default() };
        let mut indexes: Vec<u64> = Vec::new();
        let slot = ended.then(|| self.log.reserve(Uid::NONE, count).unwrap());
        while indexes.len() < count {
            let intents = (indexes.len()..count).take(100).map(|_| Intent { details: details.clone(), ..intent() });
            let recorded = self.log.record_intents(self.epoch, intents.collect()).await.unwrap();
            indexes.extend(recorded.iter().map(Recorded::index));
        }
        if let Some(slot) = slot {
            self.log.record_outcome(slot, outcome(&indexes, OutcomeResult::Done));
        }
        self.log.flush().await.unwrap();
    }

    /// Records one intent, which stays open; its index.
    pub async fn intent(&self, intent: Intent) -> u64 {
        let recorded = self.log.record_intents(self.epoch, vec![intent]).await.unwrap();
        recorded.first().map(Recorded::index).unwrap()
    }

    /// Ends intents that are open.
    pub async fn end(&self, intents: &[u64]) {
        let slot = self.log.reserve(Uid::NONE, intents.len()).unwrap();
        self.log.record_outcome(slot, outcome(intents, OutcomeResult::Done));
        self.log.flush().await.unwrap();
    }

    /// Signs a checkpoint; each is the first of its hour, and stays.
    pub async fn sign(&mut self) -> SignedCheckpoint {
        let head = self.log.tree_head().await.unwrap().unwrap();
        let checkpoint = self.notary.checkpoint(head.size, head.root).await;
        self.hour += 1;
        let time = Timestamp::from_unix_micros(self.hour * 3_600_000_000);
        self.log.keep_checkpoint(&checkpoint, time, false).await.unwrap();
        checkpoint
    }

    /// Has witnesses cosign a checkpoint, and keeps it as one that enough have cosigned.
    pub async fn cosign(&self, checkpoint: &SignedCheckpoint, witnesses: &[Notary]) -> SignedCheckpoint {
        let mut checkpoint = checkpoint.clone();
        for witness in witnesses {
            checkpoint.note_mut().cosign(&witness.key, 1_700_000_000, witness.signer()).await.unwrap();
        }
        let time = Timestamp::from_unix_micros(self.hour * 3_600_000_000);
        self.log.keep_cosigned(&checkpoint, time).await.unwrap();
        checkpoint
    }

    /// Copies what is of before a time to an archive, up to a checkpoint.
    pub fn copy(
        &self,
        archive: &Archive,
        checkpoint: &SignedCheckpoint,
        before: Timestamp,
    ) -> Result<Option<Copied>, CopyError> {
        let mut copying = archive.begin(&self.reader, checkpoint, self.keys())?;
        while copying.copy_next(before)? {}
        copying.finish()
    }

    /// Empties what was copied.
    pub async fn empty_leaves(&mut self, copied: &Copied) {
        let changed = self.log.note(self.epoch, act(false)).await.unwrap();
        for first in copied.firsts() {
            assert!(self.log.archive(&changed.recorded, copied, first).await.unwrap(), "{first}");
        }
    }

    /// Puts hashes of archived leaves back, and makes the tree again, as `chancery state check` does.
    pub async fn mend(&mut self, mut mending: Mending) -> Result<u64, StoreError> {
        let changed = self.log.note(self.epoch, act(false)).await.unwrap();
        while mending.tiles() > 0 {
            let tiles = mending.read()?;
            self.log.mend(&changed.recorded, tiles).await.unwrap();
        }
        Ok(self.log.remake_tree(&changed.recorded).await.unwrap())
    }

    /// Verifies the database with its archive, as `chancery audit verify` does.
    pub fn verify_with(&self, archive: &Archive) -> Result<Report, VerifyError<StoreError>> {
        let reader = chancery_store::look_into(&self.database()).unwrap().with_archive(Arc::new(archive.clone()));
        let trusted = Trusted { log_keys: self.keys(), checkpoints: Vec::new(), ..Default::default() };
        verify_database(&reader, Some(archive), trusted, |_, _| ())
    }

    /// Erases what may be erased, as the service does: an act says so first. How many records, and the act.
    pub async fn erase(&mut self, what: Erased) -> (u64, u64) {
        let due = erasable(&self.reader, what, None, None, 100_000).unwrap().unwrap();
        let message = Some(format!("by rule, signature_details_days = 1: {}", due.said(what)));
        let details = Details { message, ..Details::default() };
        let act = Act { caller: Uid::NONE, resource: Uid::NONE, action: None, details, ..act(false) };
        let changed = self.log.note(self.epoch, act).await.unwrap();
        self.epoch = changed.epoch;
        for step in [EraseStep::Empty, EraseStep::Remove] {
            for part in due.parts(64) {
                self.log.erase(&changed.recorded, step, part).await.unwrap();
            }
        }
        (due.count() as u64, changed.recorded.index())
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("chancery.db")
    }

    pub fn keys(&self) -> Vec<VerifierKey> {
        vec![self.notary.key.clone()]
    }

    pub fn export(&self, folder: &Path, details: bool) -> Exported {
        export_database(&self.reader, &self.keys(), folder, details, |_, _| ()).unwrap()
    }

    /// Verifies the database as `chancery audit verify` reads it.
    pub fn verify(&self, held: &[SignedCheckpoint]) -> Result<Report, String> {
        let reader = chancery_store::look_into(&self.database()).unwrap();
        let trusted = Trusted { log_keys: self.keys(), checkpoints: held.to_vec(), ..Trusted::default() };
        verify_database(&reader, None, trusted, |_, _| ()).map_err(|error| error.to_string())
    }

    /// The first fault that it finds.
    pub fn fault(&self) -> Fault {
        let reader = chancery_store::look_into(&self.database()).unwrap();
        let trusted = Trusted { log_keys: self.keys(), ..Trusted::default() };
        match verify_database(&reader, None, trusted, |_, _| ()) {
            Err(VerifyError::Fault(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    /// The same, and what witnesses vouch for.
    pub fn verify_witnessed(&self, witnesses: &WitnessPolicy) -> Result<(Report, Witnessed), String> {
        let reader = chancery_store::look_into(&self.database()).unwrap();
        let trusted = Trusted { log_keys: self.keys(), witnesses: witnesses.clone(), ..Trusted::default() };
        let report = verify_database(&reader, None, trusted, |_, _| ()).map_err(|error| error.to_string())?;
        let witnessed = report.witnessed.clone().unwrap();
        Ok((report, witnessed))
    }
}

/// Verifies an export by the keys in it.
pub fn verify(folder: &Path, held: &[SignedCheckpoint]) -> Result<Report, Result<Fault, String>> {
    let unread = |error: chancery_audit::export::ExportError| Err(error.to_string());
    let export = ExportedLog::open(folder).map_err(unread)?;
    let trusted =
        Trusted { log_keys: export.log_keys().map_err(unread)?, checkpoints: held.to_vec(), ..Trusted::default() };
    verify_exported(&export, trusted, |_, _| ()).map_err(|error| match error {
        VerifyError::Fault(fault) => Ok(fault),
        VerifyError::Read { source, .. } => Err(source.to_string()),
    })
}

/// The same, and what witnesses vouch for.
pub fn verify_witnessed(folder: &Path, witnesses: &WitnessPolicy) -> Result<(Report, Witnessed), String> {
    let export = ExportedLog::open(folder).map_err(|error| error.to_string())?;
    let log_keys = export.log_keys().map_err(|error| error.to_string())?;
    let trusted = Trusted { log_keys, witnesses: witnesses.clone(), ..Trusted::default() };
    let report = verify_exported(&export, trusted, |_, _| ()).map_err(|error| error.to_string())?;
    let witnessed = report.witnessed.clone().unwrap();
    Ok((report, witnessed))
}

/// So many witnesses, as each of them signs.
pub fn witnesses<const N: usize>() -> [Notary; N] {
    std::array::from_fn(|number| {
        let number = u8::try_from(number).unwrap();
        Notary::witness(&format!("witness.example/w{number}"), 100 + number)
    })
}

/// `required` of these witnesses.
pub fn policy(witnesses: &[Notary], required: usize) -> WitnessPolicy {
    WitnessPolicy::new(witnesses.iter().map(|witness| witness.key.clone()).collect(), required).unwrap()
}

/// All files below a folder, by their paths in it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

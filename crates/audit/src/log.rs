//! The log's handle.

mod error;
mod upkeep;

pub use error::{RecordError, StartError};

use crate::growing::Growing;
use crate::health::LogHealth;
use crate::observer::GroupObserver;
use crate::prepared::Prepared;
use crate::queue::{Answer, Delivery, Queue, Request, SealRequest};
use crate::record::{
    Act, Changed, Denial, Intent, NewSeal, Outcome, OutcomeItem, Recorded, RowStatement, VoidCheckpoints,
};
use crate::seal::{Sealer, Sealing};
use crate::shares::Share;
use crate::slot::OutcomeSlot;
use crate::state_root::StateRoot;
use crate::{Details, OutcomeResult, thread};
use chancery_crypto::RandomError;
use chancery_fail_point::FailPoint;
use chancery_model::{Id, Timestamp, Uid};
use chancery_store::{Epoch, OpenIntent, RowChange, Writer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How the log works.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Names this instance of the service in each leaf; the same after each restart, and no other instance's.
    pub instance: Id,
    /// How many intents may be without durable outcome at once; beyond it no new ones are taken, other than those of a caller
    /// that has none. Of what there is one caller has four fifths at most.
    pub outcome_queue_limit: usize,
    /// How many intents make a group that does not wait for more.
    pub max_batch: usize,
    /// How long a group waits for calls that are in flight.
    pub max_wait: Duration,
    /// Who is told of every group that is written.
    pub observer: Option<GroupObserver>,
    /// Where the anchor is kept, once the state is sealed.
    pub anchor: Option<PathBuf>,
}

impl LogSettings {
    /// Settings that measured well: 4096 outcomes, 256 intents, 600 microseconds.
    #[must_use]
    pub const fn new(instance: Id) -> Self {
        let max_wait = Duration::from_micros(600);
        Self { instance, outcome_queue_limit: 4_096, max_batch: 256, max_wait, observer: None, anchor: None }
    }
}

/// The log. Cheap to clone; when the last clone is dropped, what was handed in is written and the database closed.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    running: watch::Receiver<()>,
    anchor: watch::Receiver<Option<String>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

impl Log {
    /// Starts the writing thread, which owns the writer from now on.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(mut writer: Writer, settings: LogSettings) -> Result<Self, StartError> {
        if settings.outcome_queue_limit == 0 || settings.max_batch == 0 {
            return Err(StartError::Settings);
        }
        let next_index = writer.head().map_err(StartError::Head)?.next_index;
        let sealing = Sealing::of(&writer, settings.anchor.clone()).map_err(StartError::Head)?;
        let tree = Growing::resume(&mut writer).map_err(StartError::Tree)?;
        let queue = Arc::new(Queue::new(settings, next_index));
        let (running, until) = watch::channel(());
        let inner = Inner { queue: Arc::clone(&queue), running: until, anchor: sealing.trouble() };
        std::thread::Builder::new()
            .name("chancery-record".to_owned())
            .spawn(move || thread::run(writer, sealing, tree, &queue, running))
            .map_err(StartError::Thread)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes places in the bounded queue of outcomes, before `intents` intents of a caller are recorded. No caller gets all of
    /// them, and one that has none always gets some, so that whoever hands in much shuts nobody else out.
    ///
    /// # Errors
    /// [`RecordError::Overloaded`] where the caller may have no more now, [`RecordError::Closed`].
    pub fn reserve(&self, caller: Uid, intents: usize) -> Result<OutcomeSlot, RecordError> {
        self.inner.queue.reserve(Share { caller, places: intents })
    }

    /// Records intents that were decided at `epoch`: all of them or none. They are durable when this returns.
    ///
    /// Where the caller of this stops waiting, they may be recorded all the same, and are then closed as abandoned.
    ///
    /// # Errors
    /// [`RecordError::StaleEpoch`] where the state's epoch is another by now, [`RecordError::UsageLimit`] where a key's
    /// or the caller's limits leave no room for all of its intents, [`RecordError::Closed`].
    pub async fn record_intents(&self, epoch: Epoch, intents: Vec<Intent>) -> Result<Vec<Recorded>, RecordError> {
        let instance = self.instance();
        let records = intents.into_iter().map(|intent| Prepared::intent(instance, intent)).collect();
        let records = self.salted(records)?;
        FailPoint::IntentDecided.pass();
        self.ask(|answer| Request::Intents { epoch, records, answer }).await.map(Delivery::accept)
    }

    /// Records how intents ended: one leaf for all. Never waits, never fails for the caller: the place was taken before.
    /// Where the log is closed by now, the next start closes the intents as unknown.
    pub fn record_outcome(&self, slot: OutcomeSlot, outcome: Outcome) {
        let handed_in = self
            .salted(Prepared::outcome(self.instance(), &[], outcome))
            .and_then(|records| self.inner.queue.outcomes(records, slot.into_share()));
        if let Err(error) = handed_in {
            tracing::error!(%error, "an outcome could not be recorded");
        }
    }

    /// Records refusals. Never waits; where too many come, the rest is only counted, and the count recorded.
    pub fn record_denials(&self, denials: Vec<Denial>) {
        let records = denials.into_iter().map(|denial| Prepared::denial(self.instance(), denial)).collect();
        let handed_in = self.salted(records).and_then(|records: Vec<_>| self.inner.queue.denials(records.into_iter()));
        if let Err(error) = handed_in {
            tracing::warn!(%error, "refusals could not be recorded");
        }
    }

    /// Notes when API keys were used last. Nobody waits for it, and it is no record: it raises no epoch and takes no index.
    pub fn note_api_key_uses(&self, uses: impl IntoIterator<Item = (Uid, Timestamp)>) {
        if let Err(error) = self.inner.queue.uses(uses) {
            tracing::debug!(%error, "when API keys were used last is not kept");
        }
    }

    /// Changes the state: rows, raised epoch and record are one transaction, durable when this returns. Decided at
    /// `epoch`. With [`Act::opens`] the record waits for [`Self::complete`].
    ///
    /// An act of more than 512 rows goes on in further leaves; `recorded` is the first.
    ///
    /// # Errors
    /// [`RecordError::StaleEpoch`] where the state's epoch is another by now, [`RecordError::Closed`].
    pub async fn change(&self, epoch: Epoch, rows: Vec<RowChange>, act: Act) -> Result<Changed, RecordError> {
        let records = self.salted(Prepared::act(self.instance(), &rows, act))?;
        self.ask(|answer| Request::Change { epoch, rows, records, answer }).await
    }

    /// Records an act that changes nothing, and leaves the epoch as it is, whether or not the state is sealed or checked.
    ///
    /// # Errors
    /// [`RecordError::StaleEpoch`] where the state's epoch is another by now, [`RecordError::Closed`].
    pub async fn note(&self, epoch: Epoch, act: Act) -> Result<Changed, RecordError> {
        let records = self.salted(Prepared::act(self.instance(), &[], act))?;
        self.ask(|answer| Request::Note { epoch, records, answer }).await
    }

    /// Closes an open act, which the outcome's items name: outcome, rows and raised epoch are one transaction, durable
    /// when this returns. Decided at `epoch`, which stays as it is where no row changes.
    ///
    /// # Errors
    /// [`RecordError::StaleEpoch`] where the state's epoch is another by now, [`RecordError::Closed`].
    pub async fn complete(&self, epoch: Epoch, rows: Vec<RowChange>, outcome: Outcome) -> Result<Changed, RecordError> {
        let records = self.salted(Prepared::outcome(self.instance(), &rows, outcome))?;
        self.ask(|answer| Request::Change { epoch, rows, records, answer }).await
    }

    /// From now on each change is sealed in its own transaction, and the anchor is kept. `root` is that of the state as it is
    /// at `epoch`, and it has been checked: the database's own seal says the same. Writes nothing but the anchor.
    ///
    /// # Errors
    /// [`RecordError::StaleEpoch`] where the state's epoch is another by now, [`RecordError::Anchor`],
    /// [`RecordError::Closed`].
    pub async fn arm(&self, epoch: Epoch, root: StateRoot, sealer: Sealer) -> Result<(), RecordError> {
        let new = NewSeal { root, sealer, database: None, void_checkpoints: VoidCheckpoints::default() };
        self.request_seal(epoch, new, Vec::new(), Vec::new()).await.map(drop)
    }

    /// Seals the state anew, whatever it was held to before, as an act: with [`Self::arm`]'s effect. `statements` are the rows
    /// that the record says otherwise so far. Says the epoch.
    ///
    /// # Errors
    /// As of [`Self::arm`].
    pub async fn seal(
        &self,
        epoch: Epoch,
        new: NewSeal,
        act: Act,
        statements: &[RowStatement],
    ) -> Result<Epoch, RecordError> {
        let records = self.salted(Prepared::stating(self.instance(), statements, act))?;
        self.request_seal(epoch, new, Vec::new(), records).await
    }

    /// The same, as the end of an open act that made what seals: `rows` are written with it, and are not in `statements`.
    ///
    /// # Errors
    /// As of [`Self::arm`].
    pub async fn seal_first(
        &self,
        epoch: Epoch,
        new: NewSeal,
        rows: Vec<RowChange>,
        statements: &[RowStatement],
        outcome: Outcome,
    ) -> Result<Epoch, RecordError> {
        let records = self.salted(Prepared::outcome_stating(self.instance(), &rows, statements, outcome))?;
        self.request_seal(epoch, new, rows, records).await
    }

    /// Takes no more records, because what was found forbids it. The first reason stands.
    pub fn close(&self, reason: &str) {
        self.inner.queue.close(reason);
    }

    /// Closes what an earlier run of this instance left open: an `unknown` outcome for each intent in `open`. To be
    /// called at the start, with the store's list, before anything else is recorded.
    ///
    /// Left alone are other instances' intents, and acts, whose end the caller can find out: close them with
    /// [`Self::complete`].
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn close_open_intents(&self, open: &[OpenIntent]) -> Result<(), RecordError> {
        let ours = open.iter().filter(|intent| intent.instance == *self.instance() && !intent.act);
        let unknown = |intent: &OpenIntent| OutcomeItem {
            intent: intent.index,
            result: OutcomeResult::Unknown,
            signature_sha256: None,
        };
        let items: Vec<OutcomeItem> = ours.map(unknown).collect();
        if items.is_empty() {
            return Ok(());
        }
        let message = Some("the service stopped before the outcome was recorded".to_owned());
        let outcome = Outcome { time: Timestamp::now(), items, details: Details { message, ..Details::default() } };
        let records = self.salted(Prepared::outcome(self.instance(), &[], outcome))?;
        self.inner.queue.outcomes(records, None)?;
        self.flush().await
    }

    /// Whether the log takes records.
    #[must_use]
    pub fn health(&self) -> LogHealth {
        self.inner.queue.health().borrow().clone()
    }

    /// To be told when that changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<LogHealth> {
        self.inner.queue.health().subscribe()
    }

    /// Follows why the anchor cannot be written; `None` while it can. It is tried again each second, and at the end.
    #[must_use]
    pub fn anchor_trouble(&self) -> watch::Receiver<Option<String>> {
        self.inner.anchor.clone()
    }

    /// Follows the index that the next record will have: every record below it is durable, and found by whoever reads the
    /// store after having seen it. Told after each group.
    #[must_use]
    pub fn next_index(&self) -> watch::Receiver<u64> {
        self.inner.queue.durable().subscribe()
    }

    /// Returns when all that was handed in before is durable.
    ///
    /// # Errors
    /// [`RecordError::Closed`].
    pub async fn flush(&self) -> Result<(), RecordError> {
        self.ask(|answer| Request::Flush { answer }).await
    }

    /// Writes all that was handed in, takes nothing more, and closes the database; returns when that is done.
    pub async fn shutdown(&self) {
        self.inner.queue.stop();
        let mut running = self.inner.running.clone();
        // The thread never sends; it drops its end when it is done.
        while running.changed().await.is_ok() {}
    }

    async fn request_seal(
        &self,
        epoch: Epoch,
        new: NewSeal,
        rows: Vec<RowChange>,
        records: Vec<Prepared>,
    ) -> Result<Epoch, RecordError> {
        self.ask(|answer| Request::Seal(Box::new(SealRequest { epoch, new, rows, records, answer }))).await
    }

    /// Hands in a request, and waits for the answer.
    ///
    /// One that never comes means that the log is being closed. Its reason may come a moment later than the end of the
    /// request, and who is refused shall read it, and see the health turned.
    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, RecordError> {
        let (answer, answered) = oneshot::channel();
        self.inner.queue.request(request(answer))?;
        match answered.await {
            Ok(result) => result,
            Err(_gone) => {
                // Fails only if the sender is gone, and we hold it.
                let _ = self.subscribe().wait_for(|health| *health != LogHealth::Open).await;
                Err(self.inner.queue.closed())
            }
        }
    }

    /// No salt, no record: then nothing may be recorded at all.
    fn salted<T>(&self, records: Result<T, RandomError>) -> Result<T, RecordError> {
        records.map_err(|error| {
            self.inner.queue.close(&error.to_string());
            self.inner.queue.closed()
        })
    }

    /// Who records.
    #[must_use]
    pub fn instance(&self) -> &Id {
        &self.inner.queue.settings.instance
    }
}

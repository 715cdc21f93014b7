//! The one thread that writes to the database.

use crate::group;
use crate::growing::Growing;
use crate::observer::GroupWritten;
use crate::queue::Queue;
use crate::seal::Sealing;
use chancery_store::{StoreError, Writer};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Writes until the queue is stopped, or until a write fails. `running` tells its other end when the thread is done
/// and the database closed.
pub(crate) fn run(writer: Writer, sealing: Sealing, tree: Growing, queue: &Arc<Queue>, running: watch::Sender<()>) {
    run_with(writer, queue, running, |writer, queue| write_groups(writer, sealing, tree, queue));
}

fn run_with(
    mut writer: Writer,
    queue: &Arc<Queue>,
    running: watch::Sender<()>,
    write: impl FnOnce(&mut Writer, &Arc<Queue>) -> Result<(), StoreError>,
) {
    let result = catch_unwind(AssertUnwindSafe(|| write(&mut writer, queue)));
    let failure = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some("the writing thread panicked; its message is in the service's log".to_owned()),
    };
    match failure {
        None => {
            queue.close_in_order();
            if let Err(error) = writer.close() {
                tracing::warn!(error = chain(&error), "the write-ahead log is left for the next start");
            }
        }
        Some(reason) => {
            // Nothing is tried again: after a failed sync nobody knows what is on the disk, and trying again may
            // seem to succeed. The database stays locked, so that nothing else takes over behind our back.
            queue.close(&reason);
            queue.wait_until_stopped();
            drop(writer);
        }
    }
    drop(running);
}

/// The sealing goes before the database is closed: the anchor is then the last that was written.
fn write_groups(
    writer: &mut Writer,
    mut sealing: Sealing,
    mut tree: Growing,
    queue: &Arc<Queue>,
) -> Result<(), StoreError> {
    let mut buffer = Vec::with_capacity(1024);
    while let Some(mut group) = queue.next_group() {
        let places = std::mem::take(&mut group.background.places);
        let (intents, records) = group.count();
        let begun = Instant::now();
        let mut answers = group::commit(writer, &queue.settings.instance, &mut buffer, &mut sealing, &mut tree, group)
            .inspect_err(|error| fail(&sealing, queue, error))?;
        let took = begun.elapsed();
        queue.written(places);
        if let Some(next_index) = answers.next_index {
            queue.durable().send_replace(next_index);
        }
        let (archive, remake_tree) = (std::mem::take(&mut answers.archive), std::mem::take(&mut answers.remake_tree));
        let empty_wal = std::mem::take(&mut answers.empty_wal);
        answers.give(queue);
        if records > 0
            && let Some(observer) = &queue.settings.observer
        {
            observer.tell(GroupWritten { intents, records, took });
        }
        for (first, answer) in archive {
            let emptied = writer.empty_leaves(first).inspect_err(|error| fail(&sealing, queue, error))?;
            drop(answer.send(Ok(emptied)));
        }
        for answer in remake_tree {
            let remade = tree.remake(writer).inspect_err(|error| fail(&sealing, queue, error))?;
            drop(answer.send(Ok(remade)));
        }
        // Who waited has an answer. That it failed is no matter of what is durable, but of what may still be written.
        if empty_wal.is_empty() {
            writer.checkpoint_if_due().inspect_err(|error| fail(&sealing, queue, error))?;
        } else {
            let empty = writer.empty_wal().inspect_err(|error| fail(&sealing, queue, error))?;
            empty_wal.into_iter().for_each(|answer| drop(answer.send(Ok(empty))));
        }
    }
    Ok(())
}

/// Closes the record at once, and not when the sealing is gone: the anchor may be on a disk that does not answer any more.
fn fail(sealing: &Sealing, queue: &Queue, error: &StoreError) {
    sealing.abandon();
    queue.close(&chain(error));
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogHealth;
    use crate::log::{LogSettings, RecordError};
    use crate::queue::Request;
    use crate::shares::Share;
    use chancery_model::{Id, Uid};
    use tokio::sync::oneshot;

    #[test]
    fn a_panic_closes_the_log_and_answers_who_waits() {
        let folder = tempfile::TempDir::new().unwrap();
        let (writer, _reader) = chancery_store::open(&folder.path().join("test.db")).unwrap();
        let queue = Arc::new(Queue::new(LogSettings::new(Id::parse("the instance", "one").unwrap()), 0));
        let (running, _) = watch::channel(());
        let thread = {
            let queue = Arc::clone(&queue);
            let panics: fn(&mut Writer, &Arc<Queue>) -> Result<(), StoreError> = |_, queue| {
                let _group = queue.next_group();
                panic!("as a test");
            };
            std::thread::spawn(move || run_with(writer, &queue, running, panics))
        };
        let (answer, answered) = oneshot::channel();
        queue.request(Request::Flush { answer }).unwrap();
        assert!(answered.blocking_recv().is_err(), "nothing was made durable");
        while *queue.health().borrow() == LogHealth::Open {
            std::thread::yield_now();
        }
        assert!(
            matches!(queue.reserve(Share { caller: Uid::NONE, places: 1 }), Err(RecordError::Closed { reason }) if reason.contains("panicked"))
        );
        queue.stop();
        thread.join().unwrap();
    }
}

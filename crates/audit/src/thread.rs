//! The one thread that writes to the database.

use crate::group;
use crate::queue::Queue;
use chancery_store::Writer;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::watch;

/// Writes until the queue is stopped, or until a write fails. `running` tells its other end when the thread is done
/// and the database closed.
pub(crate) fn run(mut writer: Writer, queue: &Arc<Queue>, running: watch::Sender<()>) {
    let result = catch_unwind(AssertUnwindSafe(|| write_groups(&mut writer, queue)));
    let failure = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some("the writing thread panicked; its message is in the service's log".to_owned()),
    };
    match failure {
        None => {
            queue.close("the service was shut down");
            if let Err(error) = writer.checkpoint() {
                tracing::warn!(error = chain(&error), "the write-ahead log is left for the next start");
            }
        }
        Some(reason) => {
            // Nothing is tried again: after a failed sync nobody knows what is on the disk, and trying again may
            // seem to succeed. The database stays locked, so that nothing else takes over behind our back.
            writer.leave_as_is();
            queue.close(&reason);
            queue.wait_until_stopped();
        }
    }
    drop(writer);
    drop(running);
}

fn write_groups(writer: &mut Writer, queue: &Arc<Queue>) -> Result<(), chancery_store::StoreError> {
    let mut buffer = Vec::with_capacity(1024);
    while let Some(group) = queue.next_group() {
        let places = group.background.places;
        let answers = group::commit(writer, &queue.settings.instance, &mut buffer, group)?;
        queue.written(places);
        answers.give(queue);
    }
    Ok(())
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

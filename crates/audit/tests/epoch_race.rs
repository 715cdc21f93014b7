//! Intents and changes race: no intent that was decided on a state stands behind the change that ended it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests are free to stop at the first surprise"
)]

mod support;

use chancery_audit::{Kind, OutcomeResult, RecordError};
use chancery_model::Uid;
use std::collections::BTreeMap;
use std::time::Duration;
use support::{act, folder, intent, outcome, read, start};
use tokio::sync::watch;

const CALLERS: usize = 48;
const CHANGES: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_intent_is_recorded_before_the_change_that_ends_its_epoch_or_not_at_all() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    // What every caller believes the state to be; the changes publish it late, so that many decide on an old one.
    let (publish, believed) = watch::channel(reader.load_state().unwrap().epoch);
    let (stop, stopped) = watch::channel(false);

    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (log, believed, stopped) = (log.clone(), believed.clone(), stopped.clone());
            tokio::spawn(async move {
                let (mut recorded, mut refused) = (Vec::new(), 0_u64);
                while !*stopped.borrow() {
                    let epoch = *believed.borrow();
                    let slot = log.reserve(Uid::NONE, 1).unwrap();
                    match log.record_intents(epoch, vec![intent()]).await {
                        Ok(proof) => {
                            let index = proof[0].index();
                            recorded.push((epoch.get(), index));
                            log.record_outcome(slot, outcome(&[index], OutcomeResult::Done));
                        }
                        Err(RecordError::StaleEpoch) => {
                            refused += 1;
                            tokio::task::yield_now().await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                (recorded, refused)
            })
        })
        .collect();

    let mut began = BTreeMap::new();
    for _ in 0..CHANGES {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let epoch = *publish.borrow();
        let changed = log.change(epoch, vec![], act(false)).await.unwrap();
        began.insert(changed.epoch.get(), changed.recorded.index());
        // Acknowledged: from here on no intent of the old epoch may be recorded.
        tokio::time::sleep(Duration::from_millis(1)).await;
        publish.send(changed.epoch).unwrap();
    }
    stop.send(true).unwrap();

    let (mut recorded, mut refused) = (Vec::new(), 0);
    for caller in callers {
        let (theirs, stale) = caller.await.unwrap();
        recorded.extend(theirs);
        refused += stale;
    }
    log.shutdown().await;

    assert!(refused > 0, "nobody ever decided on an old state: the test did not test");
    for (epoch, index) in &recorded {
        assert!(began.get(epoch).is_none_or(|start| start < index), "{index} is before its epoch {epoch} began");
        assert!(began.get(&(epoch + 1)).is_none_or(|end| index < end), "{index} is after its epoch {epoch} ended");
    }
    // The log itself says the same (dense, epochs in order: checked by `read`), and holds all that was acknowledged.
    let seen = read(&reader);
    for (epoch, index) in &recorded {
        let (_, leaf) = &seen[usize::try_from(*index).unwrap()];
        assert_eq!((leaf.kind(), leaf.epoch), (Kind::Intent, *epoch));
    }
    let intents = seen.iter().filter(|(_, leaf)| leaf.kind() == Kind::Intent).count();
    assert_eq!(intents, recorded.len(), "each intent on the record was acknowledged, once");
}

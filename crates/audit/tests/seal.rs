//! Each change is sealed in its own transaction, once what seals is there; before that a sealed state stays as it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests are free to stop at the first surprise")]

use chancery_audit::{
    Act, Anchor, Details, Log, LogSettings, NewSeal, RecordError, Sealer, StateRoot, VoidCheckpoints, sealed,
};
use chancery_crypto::sha256;
use chancery_model::{Id, Timestamp, Uid};
use chancery_store::{CallerRow, Reader, RowChange, State};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn id(text: &str) -> Id {
    Id::parse("the id", text).unwrap()
}

fn open(folder: &Path) -> (Log, Reader, PathBuf) {
    let (writer, reader) = chancery_store::open(&folder.join("test.db")).unwrap();
    let anchor = folder.join("test.anchor");
    let settings = LogSettings { anchor: Some(anchor.clone()), ..LogSettings::new(id("one")) };
    (Log::start(writer, settings).unwrap(), reader, anchor)
}

/// Not a MAC, but it depends on every bit; the real one is core's.
fn sealer() -> Sealer {
    Sealer::new(sha256)
}

fn anew(root: StateRoot) -> NewSeal {
    NewSeal { root, sealer: sealer(), database: None, void_checkpoints: VoidCheckpoints::default() }
}

fn act() -> Act {
    Act {
        time: Timestamp::now(),
        caller: Uid::NONE,
        resource: Uid::NONE,
        action: None,
        policy_set: [0; 32],
        details: Details::default(),
        opens: false,
    }
}

fn caller(name: &str) -> RowChange {
    let uid = Uid::from_bytes([name.as_bytes()[0]; 16]);
    RowChange::PutCaller(CallerRow { id: id(name), uid, registration: None })
}

fn assert_sealed(state: &State) {
    let seal = state.seal.unwrap();
    assert_eq!(seal.root, StateRoot::of(state.rows()).root());
    assert_eq!(seal.mac, sha256(&sealed(state.database, state.epoch, &seal.root)));
}

#[tokio::test]
async fn each_change_is_sealed_with_the_epoch_that_it_makes_and_the_anchor_follows() {
    let folder = TempDir::new().unwrap();
    let (log, reader, anchor) = open(folder.path());
    let state = reader.load_state().unwrap();
    // Before it is sealed for the first time, it is as it always was.
    let changed = log.change(state.epoch, vec![caller("a")], act()).await.unwrap();
    // What changes nothing leaves the epoch, and is recorded.
    log.note(changed.epoch, act()).await.unwrap();
    let state = reader.load_state().unwrap();
    assert_eq!((state.epoch, state.seal, state.next_index), (changed.epoch, None, 2));
    assert_eq!(Anchor::read(&anchor).unwrap(), None);

    let epoch = log.seal(state.epoch, anew(StateRoot::of(state.rows())), act(), &[]).await.unwrap();
    let state = reader.load_state().unwrap();
    assert_eq!(epoch, state.epoch);
    assert_sealed(&state);
    assert_eq!(Anchor::read(&anchor).unwrap().map(|anchor| anchor.epoch), Some(epoch.get()), "at once");
    let mut epoch = epoch;
    for rows in [vec![caller("b"), caller("c")], Vec::new(), vec![caller("d")]] {
        epoch = log.change(epoch, rows, act()).await.unwrap().epoch;
        let state = reader.load_state().unwrap();
        assert_eq!(state.epoch, epoch);
        assert_sealed(&state);
    }
    log.shutdown().await;
    let (state, anchor) = (reader.load_state().unwrap(), Anchor::read(&anchor).unwrap().unwrap());
    assert_eq!((anchor.database, anchor.epoch, anchor.next_index), (state.database, epoch.get(), state.next_index));
    assert_eq!(Some(anchor.root), state.seal.map(|seal| seal.root));
}

#[tokio::test]
async fn a_database_that_is_sealed_anew_under_another_id_is_another_one() {
    let folder = TempDir::new().unwrap();
    let (log, reader, anchor) = open(folder.path());
    let before = reader.load_state().unwrap();
    let (root, database) = (StateRoot::default(), Uid::from_bytes([9; 16]));
    let new = NewSeal { database: Some(database), ..anew(root) };
    log.seal(before.epoch, new, act(), &[]).await.unwrap();
    let state = reader.load_state().unwrap();
    assert_eq!(state.database, database);
    assert_ne!(before.database, database);
    assert_sealed(&state);
    log.change(state.epoch, vec![caller("a")], act()).await.unwrap();
    assert_sealed(&reader.load_state().unwrap());
    log.shutdown().await;
    assert_eq!(Anchor::read(&anchor).unwrap().map(|anchor| anchor.database), Some(database));
}

#[tokio::test]
async fn a_sealed_state_is_not_changed_by_who_cannot_seal_it() {
    let folder = TempDir::new().unwrap();
    let (log, reader, _) = open(folder.path());
    let epoch = reader.load_state().unwrap().epoch;
    log.seal(epoch, anew(StateRoot::default()), act(), &[]).await.unwrap();
    log.shutdown().await;
    drop((log, reader));

    let (log, reader, _) = open(folder.path());
    let before = reader.load_state().unwrap();
    let refused = log.change(before.epoch, vec![caller("a")], act()).await.unwrap_err();
    assert_eq!(refused, RecordError::Unchecked);
    // What changes nothing is recorded, and leaves the epoch as it is sealed.
    let recorded = log.change(before.epoch, Vec::new(), act()).await.unwrap();
    let after = reader.load_state().unwrap();
    assert_eq!((recorded.epoch, after.next_index), (before.epoch, before.next_index + 1));
    assert_sealed(&after);
    // An epoch that has passed arms nothing.
    let late = log.arm(chancery_store::Epoch::new(1), StateRoot::default(), sealer()).await.unwrap_err();
    assert_eq!(late, RecordError::StaleEpoch);
    log.arm(after.epoch, StateRoot::of(after.rows()), sealer()).await.unwrap();
    log.change(after.epoch, vec![caller("a")], act()).await.unwrap();
    assert_sealed(&reader.load_state().unwrap());
    log.shutdown().await;
}

#[tokio::test]
async fn an_anchor_that_cannot_be_written_is_known_before_anything_relies_on_it() {
    let folder = TempDir::new().unwrap();
    let (log, reader, anchor) = open(folder.path());
    std::fs::create_dir(&anchor).unwrap();
    std::fs::write(anchor.join("in the way"), "").unwrap();
    let epoch = reader.load_state().unwrap().epoch;
    let refused = log.seal(epoch, anew(StateRoot::default()), act(), &[]).await.unwrap_err();
    assert!(matches!(refused, RecordError::Anchor { .. }), "{refused}");
    log.shutdown().await;
}

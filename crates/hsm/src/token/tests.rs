//! A token as many look at it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests")]

use super::state::{Conditions, Happening};
use super::*;
use crate::{HealthCause, Pin};
use chancery_model::Id;
use std::collections::BTreeMap;
use std::time::Duration;

/// A token without a supervisor: only what happens here happens to it.
fn alone() -> Token {
    let settings = TokenSettings {
        id: Id::parse("the token id", "soft").unwrap(),
        module: "none.so".into(),
        label: "none".to_owned(),
        serial: None,
        pin: Pin::new("none".to_owned().into()),
        pin_file: None,
        module_environment: BTreeMap::new(),
        lock_dir: "none".into(),
        signing_threads: 1,
        keepalive: Duration::from_secs(1),
        max_worker_memory_bytes: 1,
        queue_limit: 1,
    };
    let worker = WorkerCommand { program: "none".into(), arguments: Vec::new() };
    let (events, _supervisor) = mpsc::unbounded_channel();
    let (jobs, _control) = mpsc::channel(1);
    let shared = Arc::new(Shared::new(settings, worker, events.clone()));
    Token { shared, jobs, _guard: Arc::new(LetGo(events)), flow: Flow::OWN }
}

/// Whoever asks how it is holds up nobody to whom something happens, and the other way round: each takes two locks, and where
/// they were taken in two orders, all threads of a service stood still for ever.
#[test]
fn to_look_at_a_token_never_stops_what_happens_to_it() {
    const OFTEN: usize = 50_000;
    let token = alone();
    let (done, ended) = std::sync::mpsc::channel();
    let looking = (token.clone(), done.clone());
    std::thread::spawn(move || {
        let (token, done) = looking;
        for _ in 0..OFTEN {
            assert_eq!(token.status().worker_pid, None);
        }
        done.send("looked").unwrap();
    });
    std::thread::spawn(move || {
        for _ in 0..OFTEN {
            token.shared.happened(Happening::Serves(Conditions::default()), "it serves");
            token.shared.happened(Happening::Goes(HealthCause::WorkerEnded), "it goes");
        }
        done.send("happened").unwrap();
    });
    for _ in 0..2 {
        ended.recv_timeout(Duration::from_secs(120)).expect("both come to their end");
    }
}

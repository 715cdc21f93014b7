//! How fast a real service signs, with nothing on its record and with much, and how long each takes to come up.
//!
//! The speed of a machine moves within minutes, so both are measured in turns, round by round, and compared round by round.

use crate::Measured;
use chancery_testkit::Chancery;
use chancery_testkit::client::{Client, EcdsaEncoding};
use std::time::{Duration, Instant};

/// Calls under way at once.
const CALLS: usize = 64;
const ROUNDS: usize = 7;
const ROUND_TIME: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_millis(500);

/// What came of a round.
struct Round {
    /// Signatures in a second.
    rate: f64,
    /// The times that their calls took, ascending.
    calls: Vec<Duration>,
}

/// A service with little on its record, or with much.
pub struct Office {
    chancery: Chancery,
}

impl Office {
    /// A new one, with a key, and stopped.
    pub async fn new() -> Self {
        let mut chancery = Chancery::start().await.unwrap();
        chancery.key().await.unwrap();
        chancery.terminate().await.unwrap();
        Self { chancery }
    }

    pub fn database(&self) -> std::path::PathBuf {
        self.chancery.dir().join("chancery.db")
    }

    /// How long it takes from its process's start until it serves, and the most memory that it had by then.
    async fn start(&mut self) -> (Duration, u64) {
        let begun = Instant::now();
        self.chancery.launch().unwrap();
        self.chancery.wait_until_serving().await.unwrap();
        (begun.elapsed(), crate::memory::peak_of(self.chancery.pid()))
    }

    pub async fn stop(&mut self) {
        self.chancery.terminate().await.unwrap();
    }

    async fn client(&self) -> Client {
        self.chancery.caller().await.unwrap()
    }

    /// Signs for so long.
    async fn sign(&self, client: &Client, time: Duration) -> Round {
        let key = self.chancery.key().await.unwrap();
        let begun = Instant::now();
        let calls = (0..CALLS).map(|_| {
            let (client, key) = (client.clone(), key.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begun.elapsed() < time {
                    let call = Instant::now();
                    client.sign(&key, "measured", EcdsaEncoding::Der).await.unwrap();
                    took.push(call.elapsed());
                }
                took
            })
        });
        let mut all = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            all.extend(call.await.unwrap());
        }
        let rate = all.len() as f64 / begun.elapsed().as_secs_f64();
        all.sort_unstable();
        Round { rate, calls: all }
    }
}

/// Starts both and compares them; leaves both stopped.
pub async fn compare(none: &mut Office, much: &mut Office) -> Vec<Measured> {
    let (start_none, memory_none) = none.start().await;
    let (start_much, memory_much) = much.start().await;
    let clients = (none.client().await, much.client().await);
    none.sign(&clients.0, WARM_UP).await;
    much.sign(&clients.1, WARM_UP).await;
    let mut rounds: Vec<(Round, Round)> = Vec::new();
    for round in 0..ROUNDS {
        // Neither is always the first.
        let (first, second) = if round % 2 == 0 {
            let first = none.sign(&clients.0, ROUND_TIME).await;
            (first, much.sign(&clients.1, ROUND_TIME).await)
        } else {
            let second = much.sign(&clients.1, ROUND_TIME).await;
            (none.sign(&clients.0, ROUND_TIME).await, second)
        };
        rounds.push((first, second));
    }
    none.stop().await;
    much.stop().await;
    let rates = |which: fn(&(Round, Round)) -> f64| {
        let mut rates: Vec<f64> = rounds.iter().map(which).collect();
        rates.sort_by(f64::total_cmp);
        (rates[0], rates[ROUNDS / 2], rates[ROUNDS - 1])
    };
    let at = |times: &[Duration], hundredth: usize| times[times.len() * hundredth / 100].as_secs_f64() * 1e3;
    let mut latencies = [Vec::new(), Vec::new()];
    for (none, much) in &rounds {
        latencies[0].extend_from_slice(&none.calls);
        latencies[1].extend_from_slice(&much.calls);
    }
    latencies.iter_mut().for_each(|times| times.sort_unstable());
    let signing = |(low, middle, high): (f64, f64, f64), times: &[Duration]| {
        format!(
            "{middle:.0}/s ({low:.0} to {high:.0}), median call {:.1} ms, 99 of 100 within {:.1} ms",
            at(times, 50),
            at(times, 99)
        )
    };
    let (low, middle, high) = rates(|(none, much)| much.rate / none.rate);
    let start =
        |took: Duration, memory: u64| format!("{:.2} s, at most {:.0} MiB of memory", took.as_secs_f64(), mib(memory));
    vec![
        Measured::new("start of the service, with no records, until it serves", start(start_none, memory_none)),
        Measured::new("start of the service, with all of them", start(start_much, memory_much)),
        Measured::new(
            "Sign, ECDSA P-256, 64 calls under way: no records",
            signing(rates(|(none, _)| none.rate), &latencies[0]),
        ),
        Measured::new("Sign: all records", signing(rates(|(_, much)| much.rate), &latencies[1])),
        Measured::new(
            "Sign: all records against none, in the same round",
            format!("{middle:.2} ({low:.2} to {high:.2})"),
        ),
    ]
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

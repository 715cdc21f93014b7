//! How long a test waits for its Chancery: from nothing to the first signature.
//!
//! Usage: cargo run -p chancery-testkit --example start_to_signature [-- ROUNDS]
//! `CHANCERY_BIN` says which binary is measured.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::time::{Duration, Instant};

use chancery_testkit::client::EcdsaEncoding;
use chancery_testkit::{Chancery, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let mut steps: [Vec<Duration>; 4] = Default::default();
    for _ in 0..rounds {
        let begin = Instant::now();
        let chancery = Chancery::start().await?;
        let started = begin.elapsed();
        let key = chancery.key().await?;
        let with_key = begin.elapsed();
        chancery.caller().await?.sign(key, "pay 5 to Ada", EcdsaEncoding::Der).await?;
        let signed = begin.elapsed();
        let stop = Instant::now();
        chancery.stop().await?;
        for (list, time) in steps.iter_mut().zip([started, with_key, signed, stop.elapsed()]) {
            list.push(time);
        }
    }
    println!("of {rounds} rounds, in milliseconds  median  longest");
    for (name, times) in
        ["start: it serves", "and its key is there", "and the first signature", "stop"].iter().zip(&mut steps)
    {
        times.sort();
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        let longest = times.last().copied().unwrap_or_default();
        println!("{name:<34}  {:>5}  {:>7}", middle.as_millis(), longest.as_millis());
    }
    Ok(())
}

//! What was measured.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use chancery_model::Algorithm;
use serde::Serialize;

use super::load::Measured;
use crate::output::{View, fields};

/// A round of the device and a round of the service.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    raw_per_second: f64,
    service_per_second: f64,
    /// Service against device.
    ratio: f64,
    p50_microseconds: u64,
    p99_microseconds: u64,
}

impl Round {
    /// Takes both.
    #[allow(clippy::cast_precision_loss, reason = "a rate is not exact to 52 bits")]
    pub fn new(raw_per_second: f64, service: Measured) -> Self {
        let service_per_second = service.signatures as f64 / service.elapsed.as_secs_f64();
        Self {
            raw_per_second,
            service_per_second,
            ratio: service_per_second / raw_per_second,
            p50_microseconds: percentile(&service.latencies, 50),
            p99_microseconds: percentile(&service.latencies, 99),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "device {:.0}/s, service {:.0}/s, ratio {:.2}, p50 {} us, p99 {} us",
            self.raw_per_second, self.service_per_second, self.ratio, self.p50_microseconds, self.p99_microseconds
        )
    }
}

/// The smallest latency that at least `percent` of the calls did not exceed (nearest rank), in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    let latency = sorted.get(rank - 1).copied().unwrap_or_default();
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

/// All rounds, and their medians.
#[derive(Debug, Serialize)]
pub struct Report {
    algorithm: &'static str,
    in_flight: usize,
    batch: usize,
    median: Round,
    rounds: Vec<Round>,
}

impl Report {
    /// Takes at least one round.
    pub fn new(algorithm: Algorithm, in_flight: usize, batch: usize, rounds: Vec<Round>) -> Self {
        let median = Round {
            raw_per_second: median(&rounds, |round| round.raw_per_second),
            service_per_second: median(&rounds, |round| round.service_per_second),
            ratio: median(&rounds, |round| round.ratio),
            p50_microseconds: median(&rounds, |round| round.p50_microseconds),
            p99_microseconds: median(&rounds, |round| round.p99_microseconds),
        };
        Self { algorithm: algorithm.as_str(), in_flight, batch, median, rounds }
    }
}

/// The middle value; the lower one of two.
fn median<T: PartialOrd + Copy + Default>(rounds: &[Round], of: impl Fn(&Round) -> T) -> T {
    let mut values: Vec<T> = rounds.iter().map(of).collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

impl View for Report {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { algorithm, in_flight, batch, median, rounds } = self;
        fields(
            out,
            [
                ("algorithm", (*algorithm).to_owned()),
                ("in flight", format!("{in_flight} calls of {batch} signature(s)")),
                ("device alone", format!("{:.0} signatures/s", median.raw_per_second)),
                ("service", format!("{:.0} signatures/s", median.service_per_second)),
                ("latency", format!("p50 {} us, p99 {} us", median.p50_microseconds, median.p99_microseconds)),
                ("ratio", format!("{:.2} (median of {} paired rounds)", median.ratio, rounds.len())),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(service: usize) -> Round {
        let latencies = (1..=200).map(Duration::from_micros).collect();
        Round::new(1000.0, Measured { signatures: service, elapsed: Duration::from_secs(2), latencies })
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let round = round(1000);
        assert_eq!((round.p50_microseconds, round.p99_microseconds), (100, 198));
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(percentile(&[Duration::from_micros(7)], 99), 7);
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds() {
        let report = Report::new(Algorithm::Ed25519, 1, 1, vec![round(1800), round(400), round(1000)]);
        assert!((report.median.ratio - 0.5).abs() < 1e-9, "{}", report.median.ratio);
        let mut out = Vec::new();
        report.write_table(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("0.50 (median of 3 paired rounds)"));
    }
}

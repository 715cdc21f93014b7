//! How many threads should sign, from what was measured.

use super::SessionRate;

/// The fewest sessions that reach nine tenths of the best rate, for the algorithm that gains most from sessions: idle
/// sessions cost a token little, and a queue before a device that could do more costs much.
pub(super) fn signing_threads(rates: &[SessionRate]) -> Option<usize> {
    let mut algorithms: Vec<&str> = rates.iter().map(|rate| rate.algorithm.as_str()).collect();
    algorithms.dedup();
    algorithms
        .into_iter()
        .filter_map(|algorithm| {
            let of_it = || rates.iter().filter(|rate| rate.algorithm == algorithm);
            let best = of_it().map(|rate| rate.per_second).max()?;
            of_it().filter(|rate| rate.per_second * 10 >= best * 9).map(|rate| rate.sessions).min()
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(algorithm: &str, measured: &[(usize, u64)]) -> Vec<SessionRate> {
        let rate = |(sessions, per_second): &(usize, u64)| SessionRate {
            algorithm: algorithm.to_owned(),
            sessions: *sessions,
            per_second: *per_second,
        };
        measured.iter().map(rate).collect()
    }

    #[test]
    fn more_sessions_than_help_are_not_recommended() {
        assert_eq!(signing_threads(&rates("P", &[(1, 100), (2, 190), (4, 200), (8, 180)])), Some(2));
        assert_eq!(signing_threads(&rates("P", &[(1, 100), (2, 200), (4, 400), (8, 800)])), Some(8));
        assert_eq!(signing_threads(&rates("P", &[(1, 100), (2, 100)])), Some(1));
        assert_eq!(signing_threads(&[]), None);
    }

    #[test]
    fn the_algorithm_that_gains_most_decides() {
        let both =
            [rates("fast", &[(1, 100), (2, 100), (4, 100)]), rates("slow", &[(1, 5), (2, 10), (4, 20)])].concat();
        assert_eq!(signing_threads(&both), Some(4));
    }
}

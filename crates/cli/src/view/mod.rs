//! The API's messages as answers of the command line: stable JSON field names (those of the proto), short enum words,
//! times in RFC 3339, hashes in hexadecimal, binary data in base64.

pub mod access;
pub mod api_keys;
pub mod audit;
pub mod callers;
pub mod explained;
pub mod jwt;
pub mod keys;
pub mod log;
pub mod policy;
pub mod rings;
pub mod tokens;
pub mod vouched;

use prost_types::Timestamp;

/// A time as RFC 3339 text; empty where there is none.
fn time(timestamp: Option<Timestamp>) -> String {
    timestamp.map(|timestamp| timestamp.to_string()).unwrap_or_default()
}

/// A time of the model's, likewise.
pub fn moment(at: chancery_model::Timestamp) -> String {
    let micros = at.unix_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    time(Some(Timestamp { seconds: micros.div_euclid(1_000_000), nanos }))
}

/// The word for an enum's number: the name without its prefix, or the number where this version does not know it.
fn word(name: Option<&'static str>, prefix: &str, number: i32) -> String {
    match name {
        Some(name) => name.strip_prefix(prefix).unwrap_or(name).to_owned(),
        None => number.to_string(),
    }
}

fn algorithm(number: i32) -> String {
    use chancery_api::v1::Algorithm;
    word(Algorithm::try_from(number).ok().map(|known| known.as_str_name()), "ALGORITHM_", number)
}

/// How much of a limit is used up; empty where there is none.
fn used(count: u64, limit: Option<u64>) -> String {
    limit.map(|limit| format!("{count} of {limit}")).unwrap_or_default()
}

/// A rate; empty where there is none.
fn pace(per_second: Option<u32>, burst: Option<u32>) -> String {
    let text = |rate: u32| burst.map_or_else(|| rate.to_string(), |burst| format!("{rate}, at once {burst}"));
    per_second.map(text).unwrap_or_default()
}

/// A bound; empty where there is none.
fn at_most(limit: Option<u32>) -> String {
    limit.map(|limit| format!("at most {limit}")).unwrap_or_default()
}

/// Says which intents were still under way when a suspension was answered.
fn open_intents(out: &mut dyn std::io::Write, open: &[u64]) -> std::io::Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    let open: Vec<_> = open.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "\nStill under way when the wait was over: the intents at {}. Their outcomes will be on the record.",
        open.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_their_prefix_and_unknown_numbers_stay() {
        assert_eq!(algorithm(13), "ED25519");
        assert_eq!(algorithm(4711), "4711");
    }

    #[test]
    fn limits_are_said_where_there_are_any() {
        assert_eq!((used(3, Some(5)), used(3, None)), ("3 of 5".to_owned(), String::new()));
        assert_eq!([pace(Some(20), Some(40)), pace(Some(20), None)], ["20, at once 40", "20"]);
        assert_eq!([pace(None, None), at_most(None), at_most(Some(4))], ["", "", "at most 4"]);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(Some(Timestamp { seconds: 1_700_000_000, nanos: 250_000_000 })), "2023-11-14T22:13:20.250Z");
        assert_eq!(time(None), "");
        assert_eq!(moment(chancery_model::Timestamp::from_unix_micros(-750_000)), "1969-12-31T23:59:59.250Z");
    }
}

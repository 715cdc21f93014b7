//! Durations as people write them: a whole number and a unit, `90s`, `15m`, `12h` or `30d`.

use std::time::Duration;

/// Reads a duration; for `value_parser`.
///
/// # Errors
/// What a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let form = || format!("{text:?} is no duration; write a whole number and a unit: 90s, 15m, 12h or 30d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 =
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }.ok_or_else(form)?;
    let unit = match text.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 60 * 60,
        Some("d") => 24 * 60 * 60,
        _ => return Err(form()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(form)
}

/// Writes whole seconds as [`parse`] reads them, with the largest unit that fits.
#[must_use]
pub fn write(seconds: u64) -> String {
    let fits = |unit: u64| seconds >= unit && seconds.is_multiple_of(unit);
    match seconds {
        _ if fits(24 * 60 * 60) => format!("{}d", seconds / (24 * 60 * 60)),
        _ if fits(60 * 60) => format!("{}h", seconds / (60 * 60)),
        _ if fits(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
            assert_eq!(write(seconds), text);
        }
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "1.5h",
            "5 m",
            "5w",
            "5M",
            "1h30m",
            "99999999999999999999s",
            "9999999999999999999d",
            "+5m",
            "٣s",
        ] {
            assert!(parse(text).unwrap_err().contains("15m"), "{text:?}");
        }
    }
}

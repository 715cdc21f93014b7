//! Numbers as the C2SP formats write them: decimal, without sign and leading zeros.

/// Reads a number that is written so, and no other.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

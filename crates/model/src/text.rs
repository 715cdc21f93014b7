//! Text that people read.

/// Whether a character can make text look like other text than it is: control characters, with which a terminal is steered
/// and new lines begin, separators of lines, and what turns the direction of writing.
#[must_use]
pub fn misleads(character: char) -> bool {
    let direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    direction || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_turns_writing_misleads_and_letters_do_not() {
        for character in
            ['\n', '\r', '\t', '\0', '\u{1b}', '\u{7f}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{200f}']
        {
            assert!(misleads(character), "{character:?}");
        }
        assert!(!"Ünder the roof, \\n: 5 € — עברית 漢字 👍".chars().any(misleads));
    }
}

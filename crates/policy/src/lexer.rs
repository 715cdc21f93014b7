//! Cedar's tokens, as far as we ask for them: what is a string or a comment, and what is not.

/// A token of a policy. Numbers, and what Cedar does not know, are words or symbols too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A string.
    Text,
    /// An identifier, a keyword or a number.
    Word(&'a str),
    /// `||` or `&&`.
    Logical,
    /// Any other character; of `!=` the `=`, for it is no negation.
    Symbol(char),
}

/// The tokens of a text with their byte offsets. Comments, which end with their line, are left out.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = (usize, Token<'_>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            let Some(comment) = rest.strip_prefix("//") else { break };
            // Cedar ends a comment at a lone carriage return also.
            rest = comment.find(['\n', '\r']).and_then(|end| comment.get(end..)).unwrap_or_default();
        }
        let offset = text.len() - rest.len();
        let first = rest.chars().next()?;
        let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let (length, token) = if first == '"' {
            (string_length(rest), Token::Text)
        } else if rest.starts_with("||") || rest.starts_with("&&") {
            (2, Token::Logical)
        } else if rest.starts_with("!=") {
            (2, Token::Symbol('='))
        } else if is_word(first) {
            let word = rest.split(|char| !is_word(char)).next().unwrap_or_default();
            (word.len(), Token::Word(word))
        } else {
            (first.len_utf8(), Token::Symbol(first))
        };
        rest = rest.get(length..).unwrap_or_default();
        Some((offset, token))
    })
}

/// The length of the string that a text begins with, in bytes, both quotes counted; all of it if nothing ends it.
fn string_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((offset, char)) = chars.next() {
        match char {
            '"' => return offset + 1,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_hide_what_is_in_them() {
        let found: Vec<_> = tokens("a1(\"\\\"(ä//\") // (\r!=!// [").collect();
        let expected = [
            (0, Token::Word("a1")),
            (2, Token::Symbol('(')),
            (3, Token::Text),
            (12, Token::Symbol(')')),
            (19, Token::Symbol('=')),
            (21, Token::Symbol('!')),
        ];
        assert_eq!(found, expected);
        assert_eq!(tokens("\"((").collect::<Vec<_>>(), [(0, Token::Text)]);
    }
}

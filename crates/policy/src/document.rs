//! Policy documents as text: their names, and places within them.

use crate::lexer::{Token, tokens};

/// One file of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    /// The file's name, unique in its set: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, for example `roles.cedar`.
    pub name: String,
    /// Policies in Cedar's syntax.
    pub text: String,
}

impl PolicyDocument {
    /// Whether the name can stand in messages, in the record and in a file system.
    #[must_use]
    pub fn has_valid_name(&self) -> bool {
        self.name.len() <= 64
            && self.name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }
}

/// Where each statement of a well-formed document begins (byte offsets), in order: Cedar ends a statement with `;`, and
/// a `;` can stand elsewhere only in a string or a comment.
pub(crate) fn statement_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut between = true;
    for (offset, token) in tokens(text) {
        if between {
            starts.push(offset);
        }
        between = token == Token::Symbol(';');
    }
    starts
}

/// Line and column, both from 1, of a byte offset; the column counts characters. An offset past the end is the end.
pub(crate) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_begin_after_comments_and_semicolons_in_strings_end_nothing() {
        let text =
            "// permit;\n\n  @id(\"a;\\\"; //\")\npermit(principal, action, resource); // end;\nforbid(x);\n// done;";
        let starts = statement_starts(text);
        assert_eq!(starts.iter().map(|s| &text[*s..*s + 6]).collect::<Vec<_>>(), ["@id(\"a", "forbid"]);
        assert_eq!(position(text, starts[0]), (3, 3));
        assert_eq!(position(text, starts[1]), (5, 1));
    }

    #[test]
    fn columns_count_characters_and_offsets_past_the_end_are_the_end() {
        assert_eq!(position("äö x", 5), (1, 4));
        assert_eq!(position("a\nbc", 99), (2, 3));
    }

    #[test]
    fn names_of_documents() {
        let valid = |name: &str| PolicyDocument { name: name.into(), text: String::new() }.has_valid_name();
        assert!(valid("roles.cedar") && valid("10_Shop-a.cedar") && valid(&"a".repeat(64)));
        for name in ["", ".hidden", "../roles.cedar", "a/b", "a b", "ä", "a\n", &"a".repeat(65)] {
            assert!(!valid(name), "{name:?}");
        }
    }
}

//! Names in PromQL: which metrics a query asks for, with which labels. Not an interpreter; `promtool` checks the rest.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "the helpers of tests fail like tests")]

use std::collections::BTreeSet;

/// What a query names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Each metric, with the labels that it is selected by.
    pub selectors: Vec<(String, BTreeSet<String>)>,
    /// Labels that results are grouped or matched by.
    pub grouping: BTreeSet<String>,
}

impl Names {
    /// Takes a query apart. Variables of Grafana are read as words.
    ///
    /// # Panics
    /// Where it is no query, or uses a function that is not listed here.
    #[must_use]
    pub fn of(query: &str) -> Self {
        let tokens = tokens(query);
        let mut names = Self::default();
        let mut rest = tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            let Token::Word(word) = token else { continue };
            match (word.as_str(), after.first()) {
                ("by" | "without" | "on" | "ignoring" | "group_left" | "group_right", Some(Token::Sign('('))) => {
                    let (inside, after) = until(&after[1..], ')');
                    names.grouping.extend(words(inside));
                    rest = after;
                }
                (function, Some(Token::Sign('('))) if FUNCTIONS.contains(&function) => {}
                (aggregation, Some(Token::Word(by))) if FUNCTIONS.contains(&aggregation) => {
                    assert!(by == "by" || by == "without", "{query}");
                }
                (operator, _) if OPERATORS.contains(&operator) => {}
                (name, next) => {
                    assert!(
                        !matches!(next, Some(Token::Sign('('))),
                        "{name} is no function that is known here: {query}"
                    );
                    let mut labels = BTreeSet::new();
                    if let Some(Token::Sign('{')) = next {
                        let (inside, after) = until(&after[1..], '}');
                        labels.extend(words(inside));
                        rest = after;
                    }
                    names.selectors.push((name.to_owned(), labels));
                }
            }
        }
        names
    }
}

const FUNCTIONS: [&str; 14] = [
    "sum",
    "min",
    "max",
    "count",
    "topk",
    "rate",
    "increase",
    "histogram_quantile",
    "time",
    "vector",
    "min_over_time",
    "max_over_time",
    "label_values",
    "avg",
];

const OPERATORS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(char),
}

/// Words and signs; strings, numbers and ranges in brackets are left out.
fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut characters = query.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' => {
                let closed = characters.by_ref().any(|c| c == '"');
                assert!(closed, "a string does not end: {query}");
            }
            '[' => {
                let closed = characters.by_ref().any(|c| c == ']');
                assert!(closed, "a range does not end: {query}");
            }
            '0'..='9' => while characters.next_if(|c| c.is_ascii_alphanumeric() || *c == '.').is_some() {},
            c if c.is_ascii_alphabetic() || c == '_' || c == '$' => {
                let mut word = c.to_string();
                while let Some(c) = characters.next_if(|c| c.is_ascii_alphanumeric() || "_:".contains(*c)) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Sign(c)),
        }
    }
    tokens
}

/// What comes before a sign, and what comes after it.
fn until(tokens: &[Token], end: char) -> (&[Token], &[Token]) {
    let place = tokens.iter().position(|token| *token == Token::Sign(end)).unwrap_or_else(|| panic!("no {end}"));
    (&tokens[..place], &tokens[place + 1..])
}

fn words(tokens: &[Token]) -> impl Iterator<Item = String> {
    tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Sign(_) => None,
    })
}

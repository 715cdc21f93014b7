//! Why a configuration file was refused: file, line, field, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Everything that is wrong with a configuration file; never empty.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in the order of the file.
    pub errors: Vec<ConfigError>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The column in characters, from 1, where it is known.
    pub column: Option<usize>,
    /// Path of the field, for example `listener.address`; empty where the file as a whole is meant.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl ConfigErrors {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        let message = format!(
            "the file cannot be read ({source}); name a configuration file that this user may read, or make one with \
             `chancery init` (for production) or `chancery dev --dir DIR`"
        );
        let error = ConfigError { line: None, column: None, field: String::new(), message };
        Self { path: path.to_owned(), errors: vec![error], source: Some(Box::new(source)) }
    }

    pub(super) fn malformed(path: &Path, text: &str, mut source: toml::de::Error) -> Self {
        let start = source.span().map(|span| span.start);
        let (line, column) = start.and_then(|start| position(text, start)).unzip();
        let message = source.message().to_owned();
        // Without its input the error shows the path of keys that led to it, and shows no line of the file.
        source.set_input(None);
        let shown = source.to_string();
        let field = shown.trim_end().rsplit_once("\nin `").and_then(|(_, rest)| rest.strip_suffix('`')).unwrap_or("");
        let error = ConfigError { line, column, field: field.to_owned(), message: advice(message) };
        Self { path: path.to_owned(), errors: vec![error], source: Some(Box::new(source)) }
    }
}

/// Adds what to do where the parser says only what is wrong.
fn advice(message: String) -> String {
    if message.starts_with("unknown field") {
        format!("{message}; correct the name or remove the field")
    } else if message.starts_with("missing field") {
        format!("{message}; add it (docs/configuration.md describes every field)")
    } else {
        message
    }
}

/// Line and column of a byte, both from 1.
fn position(text: &str, byte: usize) -> Option<(usize, usize)> {
    let before = text.get(..byte)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    Some((line, column))
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.path.display())?;
            if let (Some(line), Some(column)) = (error.line, error.column) {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

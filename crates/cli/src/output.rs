//! What commands answer: a table for people, JSON for programs, from the same view.
//!
//! What people read may come from a record, a receipt or a service that wants to look like something else: text with a line
//! of its own, or with control characters that write over the one above. So all of it goes through here, where such
//! characters are shown and not obeyed: [`line()`], [`fields`] and [`rows`] take one line each, and whatever a view writes
//! beside them passes [`ForPeople`], which leaves it its lines. JSON and raw bytes are exact.

use std::borrow::Cow;
use std::io::{self, Write};

use chancery_model::misleads;
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::Failure;

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document.
    Json,
}

/// The option that every command with an answer has.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArguments {
    /// The form of the answer
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
}

impl OutputArguments {
    /// Answers to `out`, in the form that was asked for.
    pub fn to(self, out: &mut dyn Write) -> Output<'_> {
        Output::new(self.output, out)
    }
}

/// An answer: serialised as it is for programs, written out for people.
pub trait View: Serialize {
    /// Writes the answer for people.
    ///
    /// # Errors
    /// Those of the writer.
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Where answers go.
pub struct Output<'a> {
    format: Format,
    out: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    /// Answers to `out`.
    pub fn new(format: Format, out: &'a mut dyn Write) -> Self {
        Self { format, out }
    }

    /// The form that was asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes an answer.
    pub fn show(&mut self, view: &impl View) -> Result<(), Failure> {
        match self.format {
            Format::Table => view.write_table(&mut ForPeople(self.out)),
            Format::Json => serde_json::to_writer_pretty(&mut *self.out, view)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(self.out)),
        }
        .and_then(|()| self.out.flush())
        .map_err(Failure::output)
    }

    /// Writes one of many answers that come one after the other: each is a line.
    pub fn show_line(&mut self, view: &impl View) -> Result<(), Failure> {
        match self.format {
            Format::Table => view.write_table(&mut ForPeople(self.out)),
            Format::Json => {
                serde_json::to_writer(&mut *self.out, view).map_err(io::Error::from).and_then(|()| writeln!(self.out))
            }
        }
        .and_then(|()| self.out.flush())
        .map_err(Failure::output)
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(Failure::output)
    }

    /// Writes a line for people.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        line(self.out, text).and_then(|()| self.out.flush()).map_err(Failure::output)
    }
}

/// A line for people.
pub fn line(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", one_line(text))
}

/// Text as one line that looks like what it is: what would steer the terminal, begin a line or turn the direction of writing
/// is shown as an escape sequence.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, misleads)
}

/// Text of several lines, likewise; they may be indented by tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| misleads(character) && !matches!(character, '\n' | '\t'))
}

fn escaped(text: &str, which: impl Fn(char) -> bool + Copy) -> Cow<'_, str> {
    if !text.contains(which) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' if which(character) => shown.extend(character.escape_default()),
            _ if which(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Where a view writes for people: its lines are its own, and everything else that steers a terminal is shown.
struct ForPeople<'a>(&'a mut dyn Write);

impl Write for ForPeople<'_> {
    // What is formatted comes in whole pieces of text.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes rows below a header.
pub fn rows<const N: usize>(
    out: &mut dyn Write,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut table = plain();
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell).into_owned()));
    }
    write(out, &table)
}

/// Writes one thing, a field a line; empty fields are left out.
pub fn fields<'a>(out: &mut dyn Write, fields: impl IntoIterator<Item = (&'a str, String)>) -> io::Result<()> {
    let mut table = plain();
    for (name, value) in fields {
        if !value.is_empty() {
            table.add_row([name, &one_line(&value)]);
        }
    }
    write(out, &table)
}

/// No borders and no wrapping: the columns stay usable for `awk` and `grep`.
fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn write(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair {
        name: &'static str,
        labels: Vec<&'static str>,
    }

    impl View for Pair {
        fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
            fields(out, [("name", self.name.to_owned()), ("labels", self.labels.join(" "))])
        }
    }

    fn shown(format: Format, view: &Pair) -> String {
        let mut out = Vec::new();
        Output::new(format, &mut out).show(view).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_aligned_and_empty_ones_left_out() {
        let full = Pair { name: "k", labels: vec!["a", "b"] };
        assert_eq!(shown(Format::Table, &full), "name    k\nlabels  a b\n");
        assert_eq!(shown(Format::Table, &Pair { name: "k", labels: vec![] }), "name  k\n");
    }

    #[test]
    fn json_holds_every_field() {
        let text = shown(Format::Json, &Pair { name: "k", labels: vec![] });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({"name": "k", "labels": []})
        );
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn answers_that_follow_each_other_are_a_line_each() {
        let mut out = Vec::new();
        let mut output = Output::new(Format::Json, &mut out);
        output.show_line(&Pair { name: "a", labels: vec![] }).unwrap();
        output.show_line(&Pair { name: "b", labels: vec!["c"] }).unwrap();
        let expected = "{\"name\":\"a\",\"labels\":[]}\n{\"name\":\"b\",\"labels\":[\"c\"]}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn text_cannot_pass_for_a_line_of_ours() {
        struct Said(&'static str);
        impl Serialize for Said {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.0)
            }
        }
        impl View for Said {
            fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
                fields(out, [("field", self.0.to_owned()), ("next", "n".to_owned())])?;
                rows(out, ["CELL"], [[self.0.to_owned()]])?;
                line(out, self.0)?;
                writeln!(out, "on\ttwo\nlines: {}", self.0.replace('\n', " "))
            }
        }
        let said = Said("x\ncommitment  holds\r\u{1b}[1A\u{9b}2K\t\u{202e}y\u{2066}\u{200f}\u{2028}\u{7f}é");
        let shown = r"x\ncommitment  holds\r\u{1b}[1A\u{9b}2K\t\u{202e}y\u{2066}\u{200f}\u{2028}\u{7f}é";
        let mut out = Vec::new();
        Output::new(Format::Table, &mut out).show(&said).unwrap();
        let free = shown.replacen(r"\n", " ", 1).replacen(r"\t", "\t", 1);
        let expected = format!("field  {shown}\nnext   n\nCELL\n{shown}\n{shown}\non\ttwo\nlines: {free}\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        Output::new(Format::Table, &mut out).line(said.0).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{shown}\n"));
        let mut out = Vec::new();
        Output::new(Format::Json, &mut out).show(&said).unwrap();
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), said.0, "programs get what there is");
    }

    #[test]
    fn rows_stand_below_their_header() {
        let mut out = Vec::new();
        rows(
            &mut out,
            ["NAME", "STATE"],
            [["a".to_owned(), "ACTIVE".to_owned()], ["bbbbbb".to_owned(), "X".to_owned()]],
        )
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME    STATE\na       ACTIVE\nbbbbbb  X\n");
    }
}

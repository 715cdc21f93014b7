//! What commands answer: a table for people, JSON for programs, from the same view.

use std::io::{self, Write};

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
            Format::Table => view.write_table(self.out),
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
            Format::Table => view.write_table(self.out),
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
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "{line}").and_then(|()| self.out.flush()).map_err(Failure::output)
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
        table.add_row(row);
    }
    write(out, &table)
}

/// Writes one thing, a field a line; empty fields are left out.
pub fn fields<'a>(out: &mut dyn Write, fields: impl IntoIterator<Item = (&'a str, String)>) -> io::Result<()> {
    let mut table = plain();
    for (name, value) in fields {
        if !value.is_empty() {
            table.add_row([name, &value]);
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

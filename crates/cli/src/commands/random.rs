//! `chancery random`.

use std::io::{self, Write};

use chancery_client::Client;
use clap::{Args, ValueEnum};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::input::{base64, hex};
use crate::names::RingArgument;
use crate::output::{Format, Output, View};

/// Arguments of `random`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  chancery random dev                           # 32 bytes in hexadecimal
  chancery random dev --bytes 18 --form base64
  chancery random dev --bytes 4096 --form raw > seed")]
pub struct RandomCommand {
    /// The ring whose token makes them
    ring: RingArgument,
    /// How many bytes, from 1 to 1048576
    #[arg(long, short = 'n', value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    bytes: u32,
    /// How they are written where the answer is no JSON
    #[arg(long, value_enum, default_value_t)]
    form: Form,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Form {
    /// Hexadecimal digits
    #[default]
    Hex,
    /// Base64 with padding
    Base64,
    /// As they are
    Raw,
}

#[derive(Serialize)]
struct RandomView<'a> {
    ring: String,
    /// Base64.
    data: &'a str,
}

impl RandomCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { ring: RingArgument(ring), bytes, form } = self;
        let data = client.random_bytes(&ring, usize::try_from(bytes).unwrap_or(usize::MAX)).await?;
        match (out.format(), form) {
            (Format::Table, Form::Raw) => out.raw(&data)?,
            (Format::Table, Form::Hex) => out.line(&Zeroizing::new(hex(&data)))?,
            (Format::Table, Form::Base64) => out.line(&Zeroizing::new(base64(&data)))?,
            (_, _) => {
                let data = Zeroizing::new(base64(&data));
                out.show(&RandomView { ring: ring.to_string(), data: &data })?;
            }
        }
        Ok(Exit::Done)
    }
}

impl View for RandomView<'_> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.data)
    }
}

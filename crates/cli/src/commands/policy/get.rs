//! `chancery policy get`: the set in force, on the screen or in a folder.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_client::Client;
use clap::Args;
use serde::Serialize;

use super::current;
use super::folder::{Folder, Written};
use crate::exit::{Exit, Failure};
use crate::output::{Output, View};
use crate::view::policy::PolicySetView;

/// Arguments of `policy get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Write each document into this folder, under its name
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Remove documents (*.cedar) of the folder that are not in the set
    #[arg(long, requires = "dir")]
    prune: bool,
}

impl Get {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let set = current(client).await?;
        let Some(dir) = self.dir else {
            out.show(&PolicySetView::from(set))?;
            return Ok(Exit::Done);
        };
        let folder = Folder::at(&dir);
        let written = folder.write(&set.documents, self.prune)?;
        folder.remember(&set)?;
        let files = set.documents.iter().map(|document| dir.join(&document.name).display().to_string()).collect();
        out.show(&WrittenView { files, folder: written, set: set.into() })?;
        Ok(Exit::Done)
    }
}

/// The documents, written into a folder.
#[derive(Serialize)]
struct WrittenView {
    files: Vec<String>,
    folder: Written,
    #[serde(flatten)]
    set: PolicySetView,
}

impl View for WrittenView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.set.write_summary(out)?;
        self.folder.write_table(out)
    }
}

impl View for Written {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { written, unchanged, removed, left, not_read_back } = self;
        let each = |out: &mut dyn Write, names: &[String], said: &str| {
            names.iter().try_for_each(|name| writeln!(out, "{said} {name}"))
        };
        each(out, written, "wrote")?;
        each(out, unchanged, "unchanged")?;
        each(out, removed, "removed")?;
        for name in left {
            writeln!(out, "left {name}: not in the set, and applied with the folder; --prune removes it")?;
        }
        for name in not_read_back {
            writeln!(out, "note: {name} does not end in .cedar, so it is not applied with the folder")?;
        }
        Ok(())
    }
}

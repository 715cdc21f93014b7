//! `chancery policy diff` and `policy apply`: what would change, and the change.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_api::v1;
use chancery_client::Client;
use clap::Args;
use serde::Serialize;

use super::access::{AccessChanges, Pages};
use super::confirm::confirmed;
use super::current;
use super::difference::Difference;
use super::folder::{self, Folder};
use super::validate::{ValidationView, validation};
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::output::{Output, View};
use crate::view::policy::PolicySetView;

/// Pages of access that `apply` compares before it asks; `diff --access` compares all.
const PAGES_BEFORE_APPLY: usize = 10;

/// Arguments of `policy diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Cedar policies: a folder of *.cedar, files, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    documents: Vec<Source>,
    /// Show also whose access would change
    #[arg(long)]
    access: bool,
}

/// Arguments of `policy apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Cedar policies: a folder of *.cedar, files, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    documents: Vec<Source>,
    /// Only if the set in force still has this etag [default: that which the folder was read from]
    #[arg(long)]
    etag: Option<String>,
    /// Only if the set in force has exactly the documents of this folder
    #[arg(long, value_name = "DIR", conflicts_with = "etag")]
    replaces: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What changes, in documents and policies, and where asked for, in access.
#[derive(Serialize)]
struct Changes {
    #[serde(flatten)]
    difference: Difference,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<AccessChanges>,
}

impl View for Changes {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.difference.write_table(out)?;
        self.access.iter().try_for_each(|access| access.write_table(out))
    }
}

impl Diff {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let given = folder::read(&self.documents)?;
        let in_force = current(client).await?;
        let difference = Difference::between(&in_force.documents, &given);
        let access = match self.access && !difference.same {
            true => Some(AccessChanges::between(client, &given, Pages::All).await?),
            false => None,
        };
        let exit = if difference.same { Exit::Done } else { Exit::No };
        out.show(&Changes { difference, access })?;
        Ok(exit)
    }
}

impl Apply {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>, note: &mut dyn Write) -> Result<Exit, Failure> {
        let given = folder::read(&self.documents)?;
        let folder = Folder::of(&self.documents);
        let in_force = current(client).await?;
        self.check_replaced(folder.as_ref(), &in_force)?;
        let difference = Difference::between(&in_force.documents, &given);
        if difference.same {
            if let Some(folder) = &folder {
                folder.remember(&in_force)?;
            }
            // Standard error may be closed; the answer says the same.
            let _ignored = writeln!(note, "nothing to apply: the set in force has exactly these documents");
            out.show(&Applied(in_force.into()))?;
            return Ok(Exit::Done);
        }
        let found = validation(client, given.clone()).await?;
        if !found.valid {
            return Err(refusal(&found));
        }
        tell(note, &difference);
        found.warnings().for_each(|warning| drop(writeln!(note, "{warning}")));
        if !self.yes {
            match AccessChanges::between(client, &given, Pages::First(PAGES_BEFORE_APPLY)).await {
                Ok(access) => tell(note, &access),
                // Who may apply a set need not be one who may review access.
                Err(failure) => drop(write!(note, "Whose access changes is not known. {}", failure.report().0)),
            }
            if !confirmed("Apply this policy set?", note)? {
                let _ignored = writeln!(note, "not applied");
                return Ok(Exit::No);
            }
        }
        let request = v1::ApplyPolicySetRequest { documents: given, etag: in_force.etag };
        let set = client.policy().apply_policy_set(request).await.map_err(|status| client.error(status))?.into_inner();
        if let Some(folder) = &folder {
            folder.remember(&set)?;
        }
        out.show(&Applied(set.into()))?;
        Ok(Exit::Done)
    }

    /// Refuses to replace another set than the one that is meant. The service compares the etag once more, when it applies.
    fn check_replaced(&self, folder: Option<&Folder>, in_force: &v1::PolicySet) -> Result<(), Failure> {
        let stale = |meant: String| {
            let now = PolicySetView::from(in_force.clone()).in_words();
            Failure::refused(format!("the policy set in force is not {meant} (ETAG_MISMATCH): it is {now}"))
        };
        if let Some(etag) = &self.etag {
            return match *etag == in_force.etag {
                true => Ok(()),
                false => Err(stale(format!("the one with the etag {etag}"))),
            };
        }
        if let Some(before) = &self.replaces {
            let before = Folder::at(before);
            return match Difference::between(&before.documents()?, &in_force.documents).same {
                true => Ok(()),
                false => Err(stale(format!("that of {}", before.path().display()))
                    .hint("somebody has applied another set: `chancery policy diff` shows how it differs")),
            };
        }
        let Some(folder) = folder else { return Ok(()) };
        match folder.state()? {
            Some(state) if state.etag != in_force.etag => {
                let dir = folder.path().display();
                Err(stale(format!("the one that {dir} was read from, version {}", state.version)).hint(format!(
                    "commit what you have, read the set in force with `chancery policy get --dir {dir}`, merge, and \
                     apply again"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Shown beside the answer, for a person: standard error may be closed, and the question after it says what is asked.
fn tell(note: &mut dyn Write, view: &impl View) {
    let _ignored = view.write_table(note);
}

fn refusal(found: &ValidationView) -> Failure {
    let errors: Vec<String> = found.errors().collect();
    Failure::refused(format!(
        "the service would refuse this policy set (POLICY_SET_INVALID):\n  {}",
        errors.join("\n  ")
    ))
    .hint("`chancery policy validate` says it without applying anything")
}

/// The set that is in force now; the texts were just given.
#[derive(Serialize)]
#[serde(transparent)]
struct Applied(PolicySetView);

impl View for Applied {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.write_summary(out)
    }
}

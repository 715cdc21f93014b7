//! `chancery policy test`: expected decisions, checked against a policy set that need not be in force.

mod cases;
mod offline;
mod online;
mod report;

use std::path::{Path, PathBuf};

use chancery_policy::PolicySet;
use clap::Args;

use super::difference::policy_documents;
use super::folder::{self, Folder};
use super::validate::ValidationView;
use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::output::Output;

pub use cases::TestFile;
pub use offline::Office;
use report::Report;

/// The folder of test files within a folder of policy documents.
pub const TESTS: &str = "tests";

/// Arguments of `policy test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The policy set: a folder of *.cedar, or files
    #[arg(required = true, value_name = "PATH")]
    documents: Vec<Source>,
    /// Files of expected decisions; can be given several times [default: tests/*.toml in the folder]
    #[arg(long = "tests", value_name = "FILE")]
    tests: Vec<PathBuf>,
    /// Ask the service, of its callers and keys; nothing is applied
    #[arg(long)]
    online: bool,
    /// Fail also where no case exercises a policy
    #[arg(long)]
    require_coverage: bool,
}

impl Test {
    /// Runs the command.
    pub async fn run(self, connection: &ConnectionArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let documents = folder::read(&self.documents)?;
        let files = match self.tests.is_empty() {
            true => found(&self.documents)?,
            false => self.tests,
        };
        let files: Vec<TestFile> = files.iter().map(|file| TestFile::read(file)).collect::<Result<_, _>>()?;
        let set = match PolicySet::parse(policy_documents(&documents)) {
            Ok(set) => set,
            Err(errors) => {
                out.show(&ValidationView::offline(Err(errors)))?;
                return Ok(Exit::No);
            }
        };
        let decisions = match self.online {
            false => offline::decide(&set, &files)?,
            true => online::decide(&connection.connect(DevIdentity::Operator).await?, &documents, &files).await?,
        };
        let report = Report::new(&set, decisions);
        out.show(&report)?;
        let good = report.failed == 0 && (report.covers_all() || !self.require_coverage);
        Ok(if good { Exit::Done } else { Exit::No })
    }
}

/// The report of files that are decided here.
#[cfg(test)]
pub(super) fn decided_offline(set: &PolicySet, files: &[TestFile]) -> Result<Report, Failure> {
    offline::decide(set, files).map(|decided| Report::new(set, decided))
}

/// The test files of the folder that is given.
fn found(documents: &[Source]) -> Result<Vec<PathBuf>, Failure> {
    let missing = |what: String| {
        Failure::usage(what).hint("say where the expected decisions are: --tests FILE; docs/policy.md has an example")
    };
    let Some(folder) = Folder::of(documents) else {
        return Err(missing("no test files are given, and the policy set is no folder".to_owned()));
    };
    let tests = folder.path().join(TESTS);
    let files = toml_files(&tests)?;
    if files.is_empty() {
        return Err(missing(format!("there are no test files in {} (*.toml)", tests.display())));
    }
    Ok(files)
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| Failure::file("read", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_policy::PolicyDocument;

    const PAGE: &str = include_str!("../../../../../docs/policy.md");

    fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
        PAGE.split(&format!("```{language}\n"))
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn the_example_of_the_documentation_passes_with_the_policies_beside_it() {
        let examples = blocks("cedar").enumerate();
        let mut documents: Vec<PolicyDocument> = examples
            .map(|(number, text)| PolicyDocument { name: format!("example-{number}.cedar"), text: text.to_owned() })
            .collect();
        documents.extend_from_slice(PolicySet::shipped().documents());
        let set = PolicySet::parse(documents).unwrap();
        let file = TestFile::parse("docs/policy.md", blocks("toml").next().unwrap()).unwrap();
        let report = decided_offline(&set, &[file]).unwrap();
        assert_eq!(report.failed, 0, "{report:?}");
    }

    #[test]
    fn test_files_are_found_by_their_ending_in_order() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(toml_files(&place.path().join("nothing")).unwrap(), [] as [PathBuf; 0]);
        for name in ["b.toml", "a.toml", "notes.md"] {
            std::fs::write(place.path().join(name), "").unwrap();
        }
        std::fs::create_dir(place.path().join("c.toml")).unwrap();
        assert_eq!(toml_files(place.path()).unwrap(), [place.path().join("a.toml"), place.path().join("b.toml")]);
    }
}

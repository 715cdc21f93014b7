//! `chancery policy init`: a folder to begin with.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chancery_api::v1;
use chancery_policy::{PolicyDocument, PolicySet};
use clap::Args;
use serde::Serialize;

use super::current;
use super::difference::policy_documents;
use super::folder::Folder;
use super::test::{Office, TESTS, TestFile};
use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Output, View};

const README: &str = include_str!("init/README.md");
const IGNORED: &str =
    "# What this copy of the folder was read from; says nothing to other copies.\n.chancery-policy.toml\n";

/// Arguments of `policy init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The folder; made where it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Begin with the policy set of the service, not with the roles that ship
    #[arg(long)]
    in_force: bool,
}

impl Init {
    /// Runs the command.
    pub async fn run(self, connection: &ConnectionArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let in_force = match self.in_force {
            true => Some(current(&connection.connect(DevIdentity::Operator).await?).await?),
            false => None,
        };
        let documents = in_force.as_ref().map_or_else(shipped, |set| set.documents.clone());
        let set = PolicySet::parse_in_force(policy_documents(&documents)).map_err(|errors| {
            Failure::failed("this chancery cannot read the policy set of the service").because(errors)
        })?;
        let decisions = decisions(&set)?;
        let tests = self.dir.join(TESTS);
        let beside = [
            (self.dir.join("README.md"), README),
            (self.dir.join(".gitignore"), IGNORED),
            (tests.join("decisions.toml"), decisions.as_str()),
        ];
        let all = documents.iter().map(|document| self.dir.join(&document.name));
        if let Some(there) = all.chain(beside.iter().map(|(path, _)| path.clone())).find(|path| path.exists()) {
            return Err(Failure::local(format!("{} is there already; nothing was written", there.display()))
                .hint("`chancery policy get --dir` brings a folder up to date"));
        }
        let folder = Folder::at(&self.dir);
        folder.write(&documents, false)?;
        fs::create_dir_all(&tests).map_err(|error| Failure::file("create", &tests, error))?;
        for (path, text) in &beside {
            files::replace(path, text.as_bytes())?;
        }
        if let Some(set) = &in_force {
            folder.remember(set)?;
        }
        let files = documents.iter().map(|document| self.dir.join(&document.name));
        let files = files.chain(beside.into_iter().map(|(path, _)| path));
        let view = Made { dir: self.dir.display().to_string(), files: files.map(|file| shown(&file)).collect() };
        out.show(&view)?;
        Ok(Exit::Done)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn shipped() -> Vec<v1::PolicyDocument> {
    let document =
        |PolicyDocument { name, text }: &PolicyDocument| v1::PolicyDocument { name: name.clone(), text: text.clone() };
    PolicySet::shipped().documents().iter().map(document).collect()
}

const HEADER: &str = r#"# Expected decisions: `chancery policy test` checks them, here and in a build, before a change of policy is applied.
# `chancery policy init` wrote down what the set decided then. Keep what is meant, change what is not, and add the calls
# that must be allowed and those that must never be. docs/policy.md of Chancery describes everything that can stand here.

environment = "prod"

# Whom the cases speak of. They need not be registered.
[callers]
shop = { roles = ["signer"], key_rings = ["payments"] }
till = { roles = ["verifier"], key_rings = ["payments"] }
keeper = { roles = ["key-administrator"], key_rings = ["payments"] }
operator = { roles = ["policy-administrator"] }
registrar = { roles = ["caller-administrator"] }
approver = { roles = ["approver"], key_rings = ["payments"] }
auditor = { roles = ["auditor"] }
stranger = { key_rings = ["payments"] }

[keys."payments/jwt"]
algorithm = "ECDSA_P256_SHA256"
labels = { team = "shop" }

[keys."other/jwt"]
algorithm = "ED25519"
"#;

/// Who, what, on what, and what more is to be said: a call of each role that it is for, and some that it is not.
const CALLS: [(&str, &str, Option<&str>, &str); 25] = [
    ("shop", "Sign", Some("payments/jwt"), ""),
    ("shop", "Sign", Some("other/jwt"), ""),
    ("shop", "CreateKey", Some("payments"), "context = { algorithm = \"ED25519\" }\n"),
    ("till", "Verify", Some("payments/jwt"), ""),
    ("till", "Sign", Some("payments/jwt"), ""),
    ("keeper", "CreateKey", Some("payments"), "context = { algorithm = \"ED25519\" }\n"),
    ("keeper", "AdoptKey", Some("payments"), "context = { algorithm = \"ED25519\" }\n"),
    ("keeper", "Sign", Some("payments/jwt"), ""),
    ("keeper", "ListTokens", None, ""),
    ("operator", "ApplyPolicySet", None, ""),
    ("operator", "Sign", Some("payments/jwt"), ""),
    ("registrar", "CreateCaller", None, ""),
    ("registrar", "UpdateCaller", Some("callers/shop"), ""),
    ("registrar", "UpdateCaller", Some("callers/operator"), ""),
    ("registrar", "UpdateCaller", Some("callers/registrar"), ""),
    ("registrar", "ListCallers", None, ""),
    ("registrar", "IssueApiKey", Some("callers/shop"), ""),
    ("registrar", "IssueApiKey", Some("callers/operator"), ""),
    ("registrar", "Sign", Some("payments/jwt"), ""),
    ("approver", "GetKey", Some("payments/jwt"), ""),
    ("auditor", "ListRecords", None, ""),
    ("auditor", "GetKey", Some("other/jwt"), ""),
    ("auditor", "GetCaller", Some("callers/shop"), ""),
    ("auditor", "ApplyPolicySet", None, ""),
    ("stranger", "Sign", Some("payments/jwt"), ""),
];

/// A test file that says what the set decides now.
fn decisions(set: &PolicySet) -> Result<String, Failure> {
    let mut asked = HEADER.to_owned();
    let mut cases = Vec::new();
    for (caller, action, resource, more) in CALLS {
        let mut case = format!("\n[[case]]\ncaller = \"{caller}\"\naction = \"{action}\"\n");
        if let Some(resource) = resource {
            let _infallible = writeln!(case, "resource = \"{resource}\"");
        }
        case.push_str(more);
        let _infallible = writeln!(asked, "{case}expect = \"deny\"");
        cases.push(case);
    }
    let broken = |why: String| Failure::failed(format!("the test file of this chancery is broken: {why}"));
    let file = TestFile::parse("decisions.toml", &asked)?;
    let office = Office::new(set, &file).map_err(broken)?;
    let mut text = HEADER.to_owned();
    for (case, call) in cases.iter().zip(&file.cases) {
        let explanation = office.explain(call).map_err(broken)?;
        let expect = if explanation.allowed { "allow" } else { "deny" };
        let policies: Vec<String> = explanation.determining.iter().map(|policy| format!("{:?}", policy.id)).collect();
        let _infallible = writeln!(text, "{case}expect = \"{expect}\"\npolicies = [{}]", policies.join(", "));
    }
    Ok(text)
}

/// What was made.
#[derive(Serialize)]
struct Made {
    dir: String,
    files: Vec<String>,
}

impl View for Made {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.files.iter().try_for_each(|file| writeln!(out, "wrote {file}"))?;
        let dir = &self.dir;
        writeln!(
            out,
            "\nNext:\n  chancery policy test {dir}\n  chancery policy diff {dir}\n  chancery policy apply {dir}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::policy::test::decided_offline;

    #[test]
    fn the_first_tests_pass_and_exercise_every_shipped_policy() {
        let set = PolicySet::shipped();
        let text = decisions(&set).unwrap();
        let file = TestFile::parse("decisions.toml", &text).unwrap();
        let report = decided_offline(&set, &[file]).unwrap();
        assert_eq!(report.failed, 0, "{report:?}");
        assert!(report.covers_all(), "{report:?}");
        let allowed = text.matches("expect = \"allow\"").count();
        assert_eq!((allowed, text.matches("[[case]]").count()), (14, CALLS.len()));
    }
}

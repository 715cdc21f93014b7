//! `chancery policy`: a policy set as a folder of files, its way into force, what it decides and why, who can do what.

mod access;
mod apply;
mod confirm;
mod difference;
mod explain;
mod folder;
mod get;
mod init;
mod replay;
mod test;
mod validate;

use std::io::Write;

use chancery_api::v1;
use chancery_client::Client;
use clap::Subcommand;

use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Keeps, checks, tests, applies and explains policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Make a folder of policy documents to begin with, with tests
    #[command(after_long_help = "\
Writes the roles that ship, or with --in-force the policy set of the service; a README.md; tests/decisions.toml, which says \
what the set decides now; and a .gitignore. Replaces nothing.

Examples:
  chancery policy init policy/
  chancery policy init policy/ --in-force")]
    Init(init::Init),
    /// Show the policy set in force, or write its documents into a folder
    #[command(after_long_help = "\
With --dir each document becomes a file, exactly as it was applied: where nothing has changed, git sees no difference. Other \
files are left alone. The folder remembers in .chancery-policy.toml which set it was read from.

Examples:
  chancery policy get
  chancery policy get --dir policy/           # one file for each document, to edit and apply
  chancery policy get --dir policy/ --prune   # and remove documents that are no longer in the set
  chancery policy get --output json | jq -r .etag")]
    Get(get::Get),
    /// Check policy documents without applying them; exit code 1 where they would be refused
    #[command(after_long_help = "\
The service also checks that somebody could apply another set afterwards; --offline does not, and needs no service.

Examples:
  chancery policy validate policy/
  chancery policy validate policy/*.cedar
  chancery policy validate policy/ --offline")]
    Validate(validate::Validate),
    /// Check expected decisions; exit code 1 where one is not as expected
    #[command(after_long_help = "\
Reads tests/*.toml in the folder, or the files of --tests. Callers and keys are those that the file declares, and no service \
is needed; with --online they are those of the service. docs/policy.md describes the files.

Examples:
  chancery policy test policy/
  chancery policy test policy/ --require-coverage     # fail where no case exercises a policy
  chancery policy test policy/ --online --tests production.toml")]
    Test(test::Test),
    /// Show what applying these documents would change; exit code 1 where there is a difference
    #[command(after_long_help = "\
Compares documents as text and policies by their @id. With --access, also says whose access would change: each caller, action \
and resource that the service knows is asked, under both sets.

Examples:
  chancery policy diff policy/
  chancery policy diff policy/ --access
  chancery policy diff policy/ --output json | jq '.policies[].id'")]
    Diff(apply::Diff),
    /// Replace the policy set in force by these documents, all of it
    #[command(after_long_help = "\
Shows what changes, and whose access, and asks at a terminal; elsewhere, --yes is needed. What is replaced is the set that \
the difference was shown of: a set that somebody else applies meanwhile is not overwritten. A folder that was read with \
`policy get` is applied only over the set that it was read from; --etag says it for files, and --replaces by the documents \
themselves, as a build has them from the commit before.

Examples:
  chancery policy apply policy/
  chancery policy apply policy/ --yes --replaces before/policy/
  chancery policy apply roles.cedar shop.cedar --etag \"$ETAG\"")]
    Apply(apply::Apply),
    /// Say what would be decided of a call, by which policies, and why; exit code 1 where it would be denied
    #[command(after_long_help = "\
Examples:
  chancery policy explain --caller billing --action Sign --resource dev/invoices
  chancery policy explain --caller billing --action CreateKey --resource dev/k --algorithm ED25519
  chancery policy explain --caller billing --action SignJwt --resource dev/jwt --lifetime 5m
  chancery policy explain --caller billing --action Sign --resource dev/k --policy policy/
  chancery policy explain --action ApplyPolicySet")]
    Explain(Box<explain::Explain>),
    /// Decide recorded calls again, under these documents; exit code 1 where a decision would be another
    #[command(after_long_help = "\
Reads the record as `chancery audit list` does, newest first, and asks the set given of each call as policy saw it then: the \
caller with the roles of that time, the key with its labels, the circumstances. Reads and verifications are on the record only \
where they were denied. Nothing is applied.

Examples:
  chancery policy replay policy/ --since 2026-11-01T00:00:00Z
  chancery policy replay policy/ --action Sign --limit 100000")]
    Replay(Box<replay::Replay>),
    /// List who can do what: for a caller, a resource, an action, or everything
    #[command(after_long_help = "\
ALLOWED is allowed whatever the circumstances, CONDITIONAL depends on those that are shown below it (address, time, what is \
signed). What is not listed is denied. Policy is all that is asked: a frozen ring or a suspended version still denies.

Examples:
  chancery policy access --resource dev/invoices      # who can do what with this key
  chancery policy access --caller billing             # what can this caller do
  chancery policy access --resource dev --action Sign # who can sign with the keys of a ring
  chancery policy access --resource policySet
  chancery policy access --output json > access-review.json")]
    Access(access::Access),
}

impl PolicyCommand {
    /// Runs the command; what is not the answer goes to `note`.
    pub async fn run(
        self,
        connection: &ConnectionArguments,
        out: &mut Output<'_>,
        note: &mut dyn Write,
    ) -> Result<Exit, Failure> {
        let operator = DevIdentity::Operator;
        match self {
            Self::Init(command) => command.run(connection, out).await,
            Self::Get(command) => command.run(&connection.connect(operator).await?, out).await,
            Self::Validate(command) => command.run(connection, out).await,
            Self::Test(command) => command.run(connection, out).await,
            Self::Diff(command) => command.run(&connection.connect(operator).await?, out).await,
            Self::Apply(command) => command.run(&connection.connect(operator).await?, out, note).await,
            Self::Explain(command) => command.run(&connection.connect(operator).await?, out).await,
            Self::Replay(command) => command.run(&connection.connect(operator).await?, out).await,
            Self::Access(command) => command.run(&connection.connect(operator).await?, out).await,
        }
    }
}

/// The policy set in force.
async fn current(client: &Client) -> Result<v1::PolicySet, Failure> {
    let answer = client.policy().get_policy_set(v1::GetPolicySetRequest {}).await;
    Ok(answer.map_err(|status| client.error(status))?.into_inner())
}

//! `chancery bootstrap`: the first caller of a store that has none.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use chancery_model::{Id, Identity, Role};
use chancery_server::config;
use clap::Args;

use super::callers::{environment, role};
use super::serve::load;
use crate::exit::{Exit, Failure};
use crate::names::CallerArgument;
use crate::output::OutputArguments;

/// Arguments of `bootstrap`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
For a configuration without [[caller]]: the first operator is registered before the service is started, on the record. It is \
refused where anybody is registered already, and while the service runs. Everybody else is registered by this caller: \
chancery callers create.

Examples:
  chancery bootstrap olga --config /etc/chancery/chancery.toml --environment prod \\
    --identity spiffe://example.org/olga")]
pub struct BootstrapCommand {
    /// The first caller's id
    #[arg(value_name = "CALLER")]
    caller: CallerArgument,
    /// The configuration file of the service, which must not run
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The environment that the caller belongs to
    #[arg(long, value_name = "ID", value_parser = environment)]
    environment: Id,
    /// What names it in its certificate: spiffe://trust-domain/path or dns:name; may be repeated
    #[arg(long = "identity", value_name = "IDENTITY", required = true)]
    identities: Vec<Identity>,
    /// A role; may be repeated [default: caller-administrator and policy-administrator]
    #[arg(long = "role", value_name = "ROLE", value_parser = role())]
    roles: Vec<Role>,
    #[command(flatten)]
    output: OutputArguments,
}

impl BootstrapCommand {
    /// Registers the caller.
    pub async fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let Self { caller: CallerArgument(id), config: path, environment, identities, roles, output } = self;
        let config = load(&path)?;
        let roles: BTreeSet<Role> = if roles.is_empty() {
            BTreeSet::from([Role::CallerAdministrator, Role::PolicyAdministrator])
        } else {
            roles.into_iter().collect()
        };
        let said: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let line = format!("registered callers/{id} of environment {environment}: {}", said.join(", "));
        let first = config::Caller {
            id,
            environment,
            identities: identities.into_iter().collect(),
            groups: BTreeSet::new(),
            roles,
            key_rings: BTreeSet::new(),
            attributes: BTreeMap::new(),
            required_factors: BTreeSet::new(),
        };
        chancery_server::bootstrap(&config, &first)
            .await
            .map_err(|error| Failure::local("the first caller is not registered").because(error))?;
        output.to(out).line(&line)?;
        Ok(Exit::Done)
    }
}

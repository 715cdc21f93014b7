//! `chancery policy validate`: whether a set would be accepted.

use chancery_api::v1;
use chancery_client::Client;
use chancery_policy::PolicySet;
use clap::Args;

use super::difference::policy_documents;
use super::folder;
use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::output::Output;

pub use crate::view::policy::ValidationView;

/// Arguments of `policy validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Cedar policies: a folder of *.cedar, files, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    documents: Vec<Source>,
    /// Ask no service: check against the schema of this chancery
    #[arg(long)]
    offline: bool,
}

impl Validate {
    /// Runs the command.
    pub async fn run(self, connection: &ConnectionArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let documents = folder::read(&self.documents)?;
        let view = match self.offline {
            true => ValidationView::offline(PolicySet::parse(policy_documents(&documents))),
            false => validation(&connection.connect(DevIdentity::Operator).await?, documents).await?,
        };
        out.show(&view)?;
        Ok(if view.valid { Exit::Done } else { Exit::No })
    }
}

/// What the service finds.
pub async fn validation(client: &Client, documents: Vec<v1::PolicyDocument>) -> Result<ValidationView, Failure> {
    let request = v1::ValidatePolicySetRequest { documents };
    let answer = client.policy().validate_policy_set(request).await.map_err(|status| client.error(status))?;
    Ok(ValidationView::from(answer.into_inner()))
}

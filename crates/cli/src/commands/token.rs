//! `chancery token`: the PKCS#11 tokens and how they are, as the service says; and what is done with one itself
//! ([`ProvisionCommand`]).

use chancery_api::v1;
use chancery_client::Client;
use clap::{Args, Subcommand};

use super::PAGE;
use super::provision::{ProvisionCommand, SlotsOf};
use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::names::TokenArgument;
use crate::output::Output;
use crate::view::tokens::{TokenList, TokenView};

/// Reads the state of tokens, lets one be used again, and works on tokens themselves.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List the service's tokens; with --module, the slots of a PKCS#11 module, without a service
    #[command(after_long_help = "\
With --module no service is called: the module is asked which slots and tokens it shows. No token is opened, and one that \
cannot be read does not hide the others.

Examples:
  chancery token list
  chancery token list --module /usr/lib/softhsm/libsofthsm2.so --env SOFTHSM2_CONF")]
    List(SlotsOf),
    /// Show a token: health, sessions, mechanisms, firmware
    #[command(after_long_help = "\
Examples:
  chancery token show main
  chancery token show main --output json | jq -r .health")]
    Show(Show),
    /// Try one login on a token that has refused its PIN
    #[command(
        long_about = "\
Try one login on a token that has refused its PIN.

A refused PIN is never tried again by itself, not even after a restart: a few wrong ones lock a token for good. Put the PIN \
file right first. One login is tried with the PIN as the file has it now; if the token takes it, it serves again, and if not, it \
stays latched. The service must be running: it starts with a latched token, too.",
        after_long_help = "\
Example:
  chancery token clear-pin-latch main --reason 'the PIN was changed, CHG-4711'"
    )]
    ClearPinLatch(ClearPinLatch),
    /// Without a service.
    #[command(flatten)]
    Here(Box<ProvisionCommand>),
}

/// Arguments of `token clear-pin-latch`.
#[derive(Debug, Args)]
pub struct ClearPinLatch {
    /// The token's id, as in the service's configuration
    token: TokenArgument,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `token show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The token's id, as in the service's configuration
    token: TokenArgument,
}

impl TokenCommand {
    /// Runs the command.
    pub async fn run(self, connection: &ConnectionArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let client = || connection.connect(DevIdentity::Operator);
        match self {
            Self::Here(command) => return (*command).run(out).await,
            Self::List(module) => {
                if !module.run(out).await? {
                    out.show(&TokenList { tokens: list(&client().await?).await? })?;
                }
            }
            Self::Show(Show { token: TokenArgument(id) }) => {
                let client = client().await?;
                let request = v1::GetTokenRequest { name: format!("tokens/{id}") };
                let token = client.tokens().get_token(request).await.map_err(|status| client.error(status))?;
                out.show(&TokenView::from(token.into_inner()))?;
            }
            Self::ClearPinLatch(ClearPinLatch { token: TokenArgument(id), reason }) => {
                let client = client().await?;
                // Called once and never repeated: each call can be one wrong PIN more.
                let request = v1::ClearPinLatchRequest { name: format!("tokens/{id}"), reason };
                let token = client.tokens().clear_pin_latch(request).await.map_err(|status| client.error(status))?;
                out.show(&TokenView::from(token.into_inner()))?;
            }
        }
        Ok(Exit::Done)
    }
}

async fn list(client: &Client) -> Result<Vec<TokenView>, Failure> {
    let mut tokens = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListTokensRequest { page_size: PAGE, page_token };
        let page = client.tokens().list_tokens(request).await.map_err(|status| client.error(status))?.into_inner();
        tokens.extend(page.tokens.into_iter().map(TokenView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(tokens);
        }
    }
}

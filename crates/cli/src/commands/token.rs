//! `chancery token`: the PKCS#11 tokens and how they are.

use chancery_api::v1;
use chancery_client::Client;
use clap::{Args, Subcommand};

use super::PAGE;
use crate::exit::{Exit, Failure};
use crate::names::TokenArgument;
use crate::output::Output;
use crate::view::tokens::{TokenList, TokenView};

/// Reads the state of tokens, and lets one be used again.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List the tokens
    #[command(after_long_help = "Example:\n  chancery token list")]
    List,
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
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List => out.show(&TokenList { tokens: list(client).await? })?,
            Self::Show(Show { token: TokenArgument(id) }) => {
                let request = v1::GetTokenRequest { name: format!("tokens/{id}") };
                let token = client.tokens().get_token(request).await.map_err(|status| client.error(status))?;
                out.show(&TokenView::from(token.into_inner()))?;
            }
            Self::ClearPinLatch(ClearPinLatch { token: TokenArgument(id), reason }) => {
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

//! `chancery token`: the PKCS#11 tokens and how they are.

use chancery_api::v1;
use chancery_client::Client;
use clap::{Args, Subcommand};

use super::PAGE;
use crate::exit::{Exit, Failure};
use crate::names::TokenArgument;
use crate::output::Output;
use crate::view::tokens::{TokenList, TokenView};

/// Reads the state of tokens.
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

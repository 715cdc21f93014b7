//! `chancery api-keys`: credentials of callers without a certificate, or beside one.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_api::v1;
use chancery_client::{Client, new_request_id};
use chancery_model::{Action, Network};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::PAGE;
use super::callers::{name, ring_names};
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::names::{ApiKeyArgument, CallerArgument, RingArgument};
use crate::output::{Format, Output};
use crate::view::api_keys::{ApiKeyList, ApiKeyView, IssuedView};

/// Issues, lists, rotates and revokes API keys.
#[derive(Debug, Subcommand)]
pub enum ApiKeysCommand {
    /// Issue an API key: it is shown this once
    #[command(after_long_help = "\
The key alone goes to standard output, or with --key-file into a new file that only you can read (mode 600); what there is to \
know of it goes to standard error. It is never shown again.

Examples:
  chancery api-keys issue checkout --lifetime 30d --action Sign --key-ring payments --key-file key
  chancery api-keys issue web --lifetime 90d --read-only --network 10.2.0.0/16 --key-file board.key")]
    Issue(Issue),
    /// List the API keys of a caller; never their secrets
    #[command(after_long_help = "\
Examples:
  chancery api-keys list checkout
  chancery api-keys list checkout -o json | jq -r '.api_keys[] | select(.dormant) | .name'")]
    List(List),
    /// Issue another key of the same scope, and let the old one expire after an overlap
    #[command(after_long_help = "\
Example:
  chancery api-keys rotate checkout/0aZ9bY8cX7dW --overlap 1d --key-file checkout.key.new")]
    Rotate(Rotate),
    /// Let a key open nothing any more, at once
    #[command(after_long_help = "\
Example:
  chancery api-keys revoke checkout/0aZ9bY8cX7dW --reason 'it was in a log, ticket 1234'")]
    Revoke(Revoke),
}

/// Arguments of `api-keys issue`.
#[derive(Debug, Args)]
pub struct Issue {
    /// The caller's id
    #[arg(value_name = "CALLER")]
    caller: CallerArgument,
    /// How long it is of use: 12h, 30d; at most 90d, unless the service's configuration says otherwise
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Duration,
    /// Only for what makes and changes nothing: verifying, and reading of every kind
    #[arg(long)]
    read_only: bool,
    /// Only for this action; may be repeated [default: all that policy allows the caller]
    #[arg(long = "action", value_name = "ACTION", value_parser = super::action(), ignore_case = true)]
    actions: Vec<Action>,
    /// Of what is in key rings, only this ring; may be repeated [default: all that policy allows the caller]
    #[arg(long = "key-ring", value_name = "RING")]
    key_rings: Vec<RingArgument>,
    /// Only from this network (CIDR); may be repeated [default: from anywhere]
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<Network>,
    #[command(flatten)]
    place: Place,
    /// A UUID; a repeated command with the same one issues no second key [default: a random one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// Where a new key goes.
#[derive(Debug, Args)]
pub struct Place {
    /// Write the key into this file, which must not be there, readable by you alone [default: standard output]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Arguments of `api-keys list`.
#[derive(Debug, Args)]
pub struct List {
    /// The caller's id
    #[arg(value_name = "CALLER")]
    caller: CallerArgument,
}

/// Arguments of `api-keys rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// CALLER/ID of the key
    #[arg(value_name = "API_KEY")]
    api_key: ApiKeyArgument,
    /// How long the old key goes on [default: it ends at once]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    overlap: Option<Duration>,
    /// How long the new key is of use [default: as long as the old one was issued for]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Option<Duration>,
    #[command(flatten)]
    place: Place,
    /// A UUID; a repeated command with the same one issues no second key [default: a random one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// Arguments of `api-keys revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// CALLER/ID of the key
    #[arg(value_name = "API_KEY")]
    api_key: ApiKeyArgument,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl ApiKeysCommand {
    /// Runs the command. What is not the answer goes to `notes`.
    pub async fn run(self, client: &Client, out: &mut Output<'_>, notes: &mut dyn Write) -> Result<Exit, Failure> {
        let mut callers = client.callers();
        let failed = |status| client.error(status);
        match self {
            Self::Issue(issue) => {
                let (request, place) = issue.into_request()?;
                let file = place.open()?;
                let answer = callers.issue_api_key(request).await.map_err(failed);
                let v1::IssueApiKeyResponse { api_key, key } = place.or_removed(answer)?.into_inner();
                place.put(file, api_key, Zeroizing::new(key), out, notes)?;
            }
            Self::List(List { caller }) => out.show(&ApiKeyList { api_keys: list(client, &caller).await? })?,
            Self::Rotate(rotate) => {
                let (request, place) = rotate.into_request()?;
                let file = place.open()?;
                let answer = callers.rotate_api_key(request).await.map_err(failed);
                let v1::RotateApiKeyResponse { api_key, key } = place.or_removed(answer)?.into_inner();
                place.put(file, api_key, Zeroizing::new(key), out, notes)?;
            }
            Self::Revoke(Revoke { api_key, reason }) => {
                let request = v1::RevokeApiKeyRequest { name: api_key.to_string(), reason };
                let revoked = callers.revoke_api_key(request).await.map_err(failed)?;
                out.show(&ApiKeyView::from(revoked.into_inner()))?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Issue {
    fn into_request(self) -> Result<(v1::IssueApiKeyRequest, Place), Failure> {
        let Self { caller, lifetime, read_only, actions, key_rings, networks, place, request_id } = self;
        let access = if read_only { v1::ApiKeyAccess::ReadOnly } else { v1::ApiKeyAccess::ReadWrite };
        let scope = v1::ApiKeyScope {
            access: access.into(),
            actions: actions.iter().map(ToString::to_string).collect(),
            key_rings: ring_names(&key_rings),
            networks: networks.iter().map(ToString::to_string).collect(),
        };
        let request = v1::IssueApiKeyRequest {
            parent: name(&caller),
            lifetime: Some(seconds(lifetime)),
            scope: Some(scope),
            request_id: request_id.map_or_else(new_request_id, Ok)?,
        };
        Ok((request, place))
    }
}

impl Rotate {
    fn into_request(self) -> Result<(v1::RotateApiKeyRequest, Place), Failure> {
        let Self { api_key, overlap, lifetime, place, request_id } = self;
        let request = v1::RotateApiKeyRequest {
            name: api_key.to_string(),
            lifetime: lifetime.map(seconds),
            overlap: overlap.map(seconds),
            request_id: request_id.map_or_else(new_request_id, Ok)?,
        };
        Ok((request, place))
    }
}

fn seconds(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos: 0 }
}

impl Place {
    /// The file, made before the key is: what cannot be kept is not asked for.
    fn open(&self) -> Result<Option<std::fs::File>, Failure> {
        let create = |path: &PathBuf| {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.map_err(|error| Failure::file("create", path, error))
        };
        self.key_file.as_ref().map(create).transpose()
    }

    /// Takes the empty file away where there is no key to put into it.
    fn or_removed<T, E>(&self, answer: Result<T, E>) -> Result<T, E> {
        if let (Err(_), Some(path)) = (&answer, &self.key_file) {
            // The error that matters is the answer's.
            let _empty = std::fs::remove_file(path);
        }
        answer
    }

    /// Puts the key where it belongs, and says what there is to know of it.
    fn put(
        &self,
        file: Option<std::fs::File>,
        api_key: Option<v1::ApiKey>,
        key: Zeroizing<String>,
        out: &mut Output<'_>,
        notes: &mut dyn Write,
    ) -> Result<(), Failure> {
        let view = ApiKeyView::from(api_key.unwrap_or_default());
        match (file, self.key_file.as_deref()) {
            (Some(mut file), Some(path)) => {
                write_key(&mut file, path, &key)?;
                out.show(&view)
            }
            _ if out.format() == Format::Json => out.show(&IssuedView { api_key: view, key: &key }),
            _ => {
                writeln!(notes, "{}, shown this once:", view.summary()).map_err(Failure::output)?;
                out.line(&key)
            }
        }
    }
}

fn write_key(file: &mut std::fs::File, path: &Path, key: &str) -> Result<(), Failure> {
    let written = file.write_all(key.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    written.map_err(|error| {
        Failure::file("write", path, error)
            .hint("the key is lost; revoke it, and issue another: chancery api-keys list")
    })
}

async fn list(client: &Client, caller: &CallerArgument) -> Result<Vec<ApiKeyView>, Failure> {
    let mut api_keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListApiKeysRequest { parent: name(caller), page_size: PAGE, page_token };
        let page = client.callers().list_api_keys(request).await.map_err(|status| client.error(status))?.into_inner();
        api_keys.extend(page.api_keys.into_iter().map(ApiKeyView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(api_keys);
        }
    }
}

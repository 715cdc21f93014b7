//! `chancery keys`: rings, keys and versions.

use std::collections::HashMap;
use std::time::Duration;

use chancery_api::v1;
use chancery_client::{Client, algorithm_to_proto};
use chancery_model::{Algorithm, KeyName, RingName};
use clap::{Args, Subcommand};

use super::PAGE;
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::names::{KeyArgument, KeyOrVersionArgument, RingArgument, VersionArgument};
use crate::output::Output;
use crate::view::keys::{KeyList, KeyView, KeyWithVersions, RingList, SuspendedView, VersionView};

/// Creates, lists, rotates and suspends keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key; its first version is made in the token
    #[command(after_long_help = "\
Examples:
  chancery keys create dev/invoices --algorithm ECDSA_P256_SHA256
  chancery keys create dev/hashes -a RSA_PSS_3072_SHA256 --allow-digest --label team=billing
  chancery keys create dev/tokens -a ED25519 --max-jwt-lifetime 15m
  chancery keys create dev/k --algorithm ED25519 --request-id \"$(uuidgen)\"    # safe to repeat")]
    Create(Create),
    /// List the keys of a ring, or of all rings that you may see
    #[command(after_long_help = "\
Examples:
  chancery keys list
  chancery keys list dev --output json")]
    List(List),
    /// List the key rings that you may see, with the algorithms that each offers
    #[command(after_long_help = "Example:\n  chancery keys rings")]
    Rings,
    /// Show a key with its versions, or one version
    #[command(after_long_help = "\
Examples:
  chancery keys show dev/invoices
  chancery keys show dev/invoices/2")]
    Show(Show),
    /// Make a new version and sign with it from now on; the version before stays ACTIVE until it is suspended
    #[command(after_long_help = "\
Examples:
  chancery keys rotate dev/invoices
  chancery keys rotate dev/invoices --etag \"$ETAG\"   # only if it has not changed since")]
    Rotate(Rotate),
    /// Stop a version from signing; returns when no signature of it is under way any more
    #[command(after_long_help = "\
Examples:
  chancery keys suspend dev/invoices/1 --reason 'rotated, ticket 1234'")]
    Suspend(ChangeState),
    /// Let a suspended version sign again
    #[command(after_long_help = "\
Examples:
  chancery keys resume dev/invoices/1 --reason 'false alarm, ticket 1234'")]
    Resume(ChangeState),
}

/// Arguments of `keys create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The new key: RING/KEY
    key: KeyArgument,
    /// Fixed for the life of the key
    #[arg(long, short, value_name = "ALGORITHM", value_parser = super::algorithm(), ignore_case = true)]
    algorithm: Algorithm,
    /// Let Sign take a digest in place of the message: signing blind
    #[arg(long)]
    allow_digest: bool,
    /// The longest lifetime of a JWT that the key signs, up to 3650d [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    max_jwt_lifetime: Option<Duration>,
    /// A label that policies can speak of; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A UUID that makes the call safe to repeat
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    request_id: String,
}

/// Arguments of `keys list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this ring
    ring: Option<RingArgument>,
}

/// Arguments of `keys show`.
#[derive(Debug, Args)]
pub struct Show {
    /// RING/KEY, or RING/KEY/VERSION
    key: KeyOrVersionArgument,
}

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// RING/KEY
    key: KeyArgument,
    /// Only if the key's etag is still this one
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// A UUID that makes the call safe to repeat
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    request_id: String,
}

/// Arguments of `keys suspend` and `keys resume`.
#[derive(Debug, Args)]
pub struct ChangeState {
    /// RING/KEY/VERSION
    #[arg(value_name = "VERSION")]
    key_version: VersionArgument,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, for example team=billing".to_owned()),
    }
}

impl KeysCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Create(arguments) => out.show(&create(client, arguments).await?),
            Self::List(List { ring }) => out.show(&list(client, ring).await?),
            Self::Rings => {
                let key_rings = rings(client).await?.into_iter().map(Into::into).collect();
                out.show(&RingList { key_rings })
            }
            Self::Show(Show { key: KeyOrVersionArgument::Key(name) }) => out.show(&show(client, &name).await?),
            Self::Show(Show { key: KeyOrVersionArgument::Version(name) }) => {
                let request = v1::GetKeyVersionRequest { name: name.to_string() };
                let version = client.keys().get_key_version(request).await.map_err(|status| client.error(status))?;
                out.show(&VersionView::from(version.into_inner()))
            }
            Self::Rotate(Rotate { key, etag, request_id }) => {
                let request = v1::RotateKeyRequest { name: key.0.to_string(), etag, request_id };
                let version = client.keys().rotate_key(request).await.map_err(|status| client.error(status))?;
                out.show(&VersionView::from(version.into_inner()))
            }
            Self::Suspend(ChangeState { key_version, reason }) => {
                let request = v1::SuspendKeyVersionRequest { name: key_version.0.to_string(), reason };
                let answer = client.keys().suspend_key_version(request).await.map_err(|status| client.error(status))?;
                let v1::SuspendKeyVersionResponse { key_version, open_intents } = answer.into_inner();
                out.show(&SuspendedView { key_version: key_version.unwrap_or_default().into(), open_intents })
            }
            Self::Resume(ChangeState { key_version, reason }) => {
                let request = v1::ResumeKeyVersionRequest { name: key_version.0.to_string(), reason };
                let version = client.keys().resume_key_version(request).await.map_err(|status| client.error(status))?;
                out.show(&VersionView::from(version.into_inner()))
            }
        }?;
        Ok(Exit::Done)
    }
}

async fn create(client: &Client, arguments: Create) -> Result<KeyView, Failure> {
    let Create { key: KeyArgument(name), algorithm, allow_digest, max_jwt_lifetime, labels, request_id } = arguments;
    let count = labels.len();
    let labels: HashMap<String, String> = labels.into_iter().collect();
    if labels.len() < count {
        return Err(Failure::usage("a label is given twice"));
    }
    let request = v1::CreateKeyRequest {
        parent: name.ring_name().to_string(),
        key_id: name.key.to_string(),
        key: Some(v1::Key {
            algorithm: algorithm_to_proto(algorithm).into(),
            allow_digest,
            labels,
            max_jwt_lifetime: max_jwt_lifetime.map(|longest| prost_types::Duration {
                seconds: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            ..v1::Key::default()
        }),
        request_id,
    };
    let key = client.keys().create_key(request).await.map_err(|status| client.error(status))?;
    Ok(key.into_inner().into())
}

async fn list(client: &Client, ring: Option<RingArgument>) -> Result<KeyList, Failure> {
    let rings = match ring {
        Some(RingArgument(RingName { ring })) => vec![format!("keyRings/{ring}")],
        None => rings(client).await?.into_iter().map(|ring| ring.name).collect(),
    };
    let mut keys = Vec::new();
    for parent in rings {
        let mut page_token = String::new();
        loop {
            let request = v1::ListKeysRequest { parent: parent.clone(), page_size: PAGE, page_token };
            let page = client.keys().list_keys(request).await.map_err(|status| client.error(status))?.into_inner();
            keys.extend(page.keys.into_iter().map(KeyView::from));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    Ok(KeyList { keys })
}

async fn rings(client: &Client) -> Result<Vec<v1::KeyRing>, Failure> {
    let mut rings = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListKeyRingsRequest { page_size: PAGE, page_token };
        let page = client.keys().list_key_rings(request).await.map_err(|status| client.error(status))?.into_inner();
        rings.extend(page.key_rings);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rings);
        }
    }
}

async fn show(client: &Client, name: &KeyName) -> Result<KeyWithVersions, Failure> {
    let request = v1::GetKeyRequest { name: name.to_string() };
    let key = client.keys().get_key(request).await.map_err(|status| client.error(status))?.into_inner();
    let mut versions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListKeyVersionsRequest { parent: name.to_string(), page_size: PAGE, page_token };
        let page = client.keys().list_key_versions(request).await.map_err(|status| client.error(status))?.into_inner();
        versions.extend(page.key_versions.into_iter().map(VersionView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(KeyWithVersions { key: key.into(), versions });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pairs() {
        assert_eq!(label("team=a=b"), Ok(("team".to_owned(), "a=b".to_owned())));
        assert!(label("team").is_err());
        assert!(label("=x").is_err());
    }
}

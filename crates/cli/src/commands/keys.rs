//! `chancery keys`: rings, keys and versions.

use std::collections::BTreeMap;
use std::time::Duration;

use chancery_client::{
    Client, ClientError, NewKey, Refusal, RefusalKind, Rotation, Stopped, TokenObject, new_request_id,
};
use chancery_model::{Algorithm, TokenObjectId};
use clap::{Args, Subcommand};

use super::key_certificates::{Csr, SetCertificate};
use super::key_settings::{Settings, Update};
use super::key_states::{ChangeState, ScheduleDestruction};
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::names::{KeyArgument, KeyOrVersionArgument, RingArgument};
use crate::output::Output;
use crate::view::keys::{KeyList, KeyView, KeyWithVersions, StoppedView, VersionView};

/// Creates, adopts, lists, changes, rotates, retires and destroys keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key; its first version is made in the token
    #[command(after_long_help = "\
Examples:
  chancery keys create dev/invoices --algorithm ECDSA_P256_SHA256
  chancery keys create dev/hashes -a RSA_PSS_3072_SHA256 --allow-digest --label team=billing
  chancery keys create dev/tokens -a ED25519 --max-jwt-lifetime 15m
  chancery keys create dev/api -a ED25519 --rotation-period 90d --publish-ahead 7d
  chancery keys create dev/k --algorithm ED25519 --request-id \"$(uuidgen)\"    # safe to repeat")]
    Create(Box<Create>),
    /// Bring a key that is in the ring's token already under management, as version 1 of a new key
    #[command(after_long_help = "\
The token must hold exactly one private (or secret) key with this CKA_ID, and its public key or certificate. Nothing of it is \
changed there. A key of which a copy may be outside the token is refused, unless the ring is configured with \
allow_extractable = true; then it is adopted, and stays marked.

Examples:
  chancery keys adopt dev/legacy --algorithm RSA_PKCS1_2048_SHA256 --object-id 4c6567616379
  chancery keys adopt dev/codesign -a ECDSA_P256_SHA256 --object-label code-signing")]
    Adopt(Box<Adopt>),
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
    /// Change what is laid down for a key: labels, owner, rotation, deletion protection, limits
    #[command(after_long_help = "\
Examples:
  chancery keys update dev/invoices --owner 'billing team' --deletion-protection on
  chancery keys update dev/invoices --rotation-period 90d --publish-ahead 7d --signing-period 180d
  chancery keys update dev/invoices --max-daily-signatures 10000
  chancery keys update dev/invoices --rotation-period none --publish-ahead none")]
    Update(Box<Update>),
    /// Make a new version and sign with it from now on; the version before stays ACTIVE until it is suspended or deactivated
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
    /// Retire a version for good: it verifies, and never signs again
    #[command(after_long_help = "\
Examples:
  chancery keys deactivate dev/invoices/1 --reason 'replaced by version 2'")]
    Deactivate(ChangeState),
    /// Say that others may sign with a version: it stops for good, and its signatures are answered as in doubt
    #[command(after_long_help = "\
Examples:
  chancery keys compromise dev/invoices/1 --reason 'incident 77'")]
    Compromise(ChangeState),
    /// Stop a version, and have it destroyed in its token when the grace period is over
    #[command(after_long_help = "\
Examples:
  chancery keys schedule-destruction dev/invoices/1 --reason 'retention is over'
  chancery keys schedule-destruction dev/invoices/1 --grace 7d")]
    ScheduleDestruction(ScheduleDestruction),
    /// Keep a version that was to be destroyed: it is what it was before
    #[command(after_long_help = "\
Examples:
  chancery keys cancel-destruction dev/invoices/1 --reason 'still needed'")]
    CancelDestruction(ChangeState),
    /// Make a request for a certificate (PKCS #10), signed in the token by the key that it is for
    #[command(after_long_help = "\
A signature like any other: made by who may sign with the key, not by its administrator.

Examples:
  chancery keys csr dev/tls --subject CN=shop.example --dns shop.example > shop.csr
  chancery keys csr dev/tls/2 --uri spiffe://example.org/shop")]
    Csr(Csr),
    /// Keep a version's certificate, with those of its issuers, with the key
    #[command(after_long_help = "\
Examples:
  chancery keys set-certificate dev/tls/1 shop.pem intermediate.pem
  chancery keys set-certificate dev/tls/1 --none")]
    SetCertificate(SetCertificate),
}

/// Arguments of `keys create`, and of what else makes a key known.
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
    #[command(flatten)]
    settings: Settings,
    /// A UUID that makes the command safe to repeat [default: a random one, for the repetitions of this command]
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// Arguments of `keys adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    #[command(flatten)]
    create: Create,
    /// CKA_ID of the private or secret key in the token: 1 to 64 bytes in hexadecimal
    #[arg(long, value_name = "HEX", required_unless_present = "object_label")]
    object_id: Option<TokenObjectId>,
    /// Its CKA_LABEL
    #[arg(long, value_name = "TEXT")]
    object_label: Option<String>,
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
    #[arg(long)]
    etag: Option<String>,
    /// A UUID that makes the command safe to repeat [default: a random one, for the repetitions of this command]
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// Labels by name; each once.
pub(super) fn distinct(labels: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let count = labels.len();
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    if labels.len() < count { Err(Failure::usage("a label is given twice")) } else { Ok(labels) }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, for example team=billing".to_owned()),
    }
}

impl KeysCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Create(arguments) => out.show(&create(client, *arguments).await?),
            Self::Adopt(arguments) => out.show(&adopt(client, *arguments).await?),
            Self::List(List { ring }) => out.show(&list(client, ring).await?),
            Self::Rings => out.show(&super::rings::list(client).await?),
            Self::Show(Show { key: KeyOrVersionArgument::Key(name) }) => {
                let key = client.key(&name).await?.into();
                let versions = client.key_versions(&name).collect().await?.into_iter().map(Into::into).collect();
                out.show(&KeyWithVersions { key, versions })
            }
            Self::Show(Show { key: KeyOrVersionArgument::Version(name) }) => {
                out.show(&VersionView::from(client.key_version(&name).await?))
            }
            Self::Rotate(Rotate { key: KeyArgument(name), etag, request_id }) => {
                let request_id = request_id.map_or_else(new_request_id, Ok)?;
                let rotation = Rotation { etag, request_id: Some(request_id.clone()) };
                let version =
                    client.rotate_key(&name, rotation).await.map_err(|error| unsettled(error, &request_id))?;
                out.show(&VersionView::from(version))
            }
            Self::Update(update) => out.show(&KeyView::from(client.update_key(update.into_change()?).await?)),
            Self::Suspend(change) => {
                let (name, reason) = change.parts();
                out.show(&stopped(client.suspend_key_version(&name, &reason).await?))
            }
            Self::Resume(change) => {
                let (name, reason) = change.parts();
                out.show(&VersionView::from(client.resume_key_version(&name, &reason).await?))
            }
            Self::Deactivate(change) => {
                let (name, reason) = change.parts();
                out.show(&stopped(client.deactivate_key_version(&name, &reason).await?))
            }
            Self::Compromise(change) => {
                let (name, reason) = change.parts();
                out.show(&stopped(client.mark_key_version_compromised(&name, &reason).await?))
            }
            Self::ScheduleDestruction(ScheduleDestruction { change, grace }) => {
                let (name, reason) = change.parts();
                out.show(&stopped(client.schedule_key_version_destruction(&name, grace, &reason).await?))
            }
            Self::Csr(csr) => out.show(&csr.run(client).await?),
            Self::SetCertificate(set) => out.show(&set.run(client).await?),
            Self::CancelDestruction(change) => {
                let (name, reason) = change.parts();
                out.show(&VersionView::from(client.cancel_key_version_destruction(&name, &reason).await?))
            }
        }?;
        Ok(Exit::Done)
    }
}

fn stopped(Stopped { version, open_intents }: Stopped) -> StoppedView {
    StoppedView { key_version: version.into(), open_intents }
}

async fn create(client: &Client, arguments: Create) -> Result<KeyView, Failure> {
    let (key, request_id) = new_key(arguments)?;
    Ok(client.create_key(key).await.map_err(|error| unsettled(error, &request_id))?.into())
}

async fn adopt(client: &Client, arguments: Adopt) -> Result<KeyView, Failure> {
    let Adopt { create, object_id: id, object_label: label } = arguments;
    let (key, request_id) = new_key(create)?;
    let adopted = client.adopt_key(key, TokenObject { id, label }).await;
    Ok(adopted.map_err(|error| unsettled(error, &request_id))?.into())
}

/// The key, and the request id by which it can be asked for again.
fn new_key(arguments: Create) -> Result<(NewKey, String), Failure> {
    let Create { key: KeyArgument(name), algorithm, allow_digest, max_jwt_lifetime, labels, settings, request_id } =
        arguments;
    let labels = distinct(labels)?;
    let settings = settings.into();
    let request_id = request_id.map_or_else(new_request_id, Ok)?;
    let request = Some(request_id.clone());
    let key = NewKey { name, algorithm, allow_digest, labels, max_jwt_lifetime, settings, request_id: request };
    Ok((key, request_id))
}

/// Where it is not known whether a key was made: how to ask for the same one again.
fn unsettled(error: ClientError, request_id: &str) -> Failure {
    let open = match &error {
        ClientError::TimedOut { .. } | ClientError::Connection { .. } => true,
        other => matches!(
            other.refusal().map(Refusal::kind),
            Some(RefusalKind::Conflict | RefusalKind::Unavailable | RefusalKind::DeadlineExceeded)
        ),
    };
    // Somebody else's change is settled.
    let open = open && error.reason() != Some("ETAG_MISMATCH");
    let failure = Failure::from(error);
    if open {
        failure.hint(format!(
            "to ask for the same key version again, and never for another one: --request-id {request_id}"
        ))
    } else {
        failure
    }
}

async fn list(client: &Client, ring: Option<RingArgument>) -> Result<KeyList, Failure> {
    let rings = match ring {
        Some(RingArgument(ring)) => vec![ring],
        None => client.key_rings().collect().await?.into_iter().map(|ring| ring.name).collect(),
    };
    let mut keys = Vec::new();
    for ring in rings {
        keys.extend(client.list_keys(&ring).collect().await?.into_iter().map(KeyView::from));
    }
    Ok(KeyList { keys })
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

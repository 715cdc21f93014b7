//! `chancery callers`: who may ask at all.

use std::collections::BTreeMap;

use chancery_api::v1;
use chancery_client::{Client, new_request_id};
use chancery_model::{Factor, Id, Identity, Role};
use clap::{Args, Subcommand};
use prost_types::FieldMask;

use super::PAGE;
use super::caller_limits::{LimitChanges, Limits};
use super::keys::label;
use crate::exit::{Exit, Failure};
use crate::names::{CallerArgument, RingArgument};
use crate::output::Output;
use crate::view::callers::{CallerList, CallerView, SuspendedCallerView};

/// Registers, lists, changes and suspends callers.
#[derive(Debug, Subcommand)]
pub enum CallersCommand {
    /// Register a caller
    #[command(after_long_help = "\
Examples:
  chancery callers create checkout --environment prod --identity spiffe://example.org/checkout \\
    --role signer --key-ring payments --attribute team=checkout
  chancery callers create ada --environment prod --identity dns:ada.example.org --role auditor
  chancery callers create batch --environment prod --identity dns:batch.example.org --role signer \\
    --key-ring invoices --max-uses-per-second 20 --max-daily-signatures 10000")]
    Create(Box<Create>),
    /// List the callers that you may see
    #[command(after_long_help = "\
Examples:
  chancery callers list
  chancery callers list -o json | jq -r '.callers[] | select(.roles | index(\"signer\")) | .name'")]
    List,
    /// Show a caller
    #[command(after_long_help = "Example:\n  chancery callers show checkout")]
    Show(Show),
    /// Change what a caller is; what is not named stays
    #[command(after_long_help = "\
Nobody changes themselves. Calls that begin after the answer are decided on what the caller is then.

Examples:
  chancery callers update checkout --add-key-ring invoices --remove-role verifier
  chancery callers update checkout --add-identity spiffe://example.org/checkout-2
  chancery callers update checkout --attribute tier=gold --require certificate --require api-key
  chancery callers update checkout --max-uses-per-second 200 --max-daily-signatures none")]
    Update(Box<Update>),
    /// Let a caller do nothing any more; returns when no signature of it is under way
    #[command(after_long_help = "\
Examples:
  chancery callers suspend checkout --reason 'its key was in a log, ticket 1234'")]
    Suspend(ChangeState),
    /// Let a suspended caller in again
    #[command(after_long_help = "Example:\n  chancery callers resume checkout --reason 'new key, ticket 1234'")]
    Resume(ChangeState),
}

/// Arguments of `callers create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The new caller's id
    #[arg(value_name = "CALLER")]
    caller: CallerArgument,
    /// The one environment whose key rings it may use; fixed for its life
    #[arg(long, value_name = "ID", value_parser = environment)]
    environment: Id,
    /// How it is recognised: spiffe://trust-domain/path, dns:name or oidc:https://issuer#subject; may be repeated
    #[arg(long = "identity", value_name = "IDENTITY")]
    identities: Vec<Identity>,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE", value_parser = role())]
    roles: Vec<Role>,
    /// A key ring to which the roles extend; may be repeated
    #[arg(long = "key-ring", value_name = "RING")]
    key_rings: Vec<RingArgument>,
    /// A group; may be repeated
    #[arg(long = "group", value_name = "GROUP", value_parser = group)]
    groups: Vec<Id>,
    /// An attribute that policies can speak of; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = label)]
    attributes: Vec<(String, String)>,
    /// What each of its calls must bring: certificate, api-key, oidc-token; may be repeated
    #[arg(long = "require", value_name = "FACTOR", value_parser = factor())]
    required_factors: Vec<Factor>,
    #[command(flatten)]
    limits: Limits,
    /// A UUID that makes the command safe to repeat [default: a random one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// Arguments of `callers show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The caller's id
    #[arg(value_name = "CALLER")]
    caller: CallerArgument,
}

/// Arguments of `callers update`.
#[derive(Debug, Args)]
pub struct Update {
    /// The caller's id
    #[arg(value_name = "CALLER")]
    caller: CallerArgument,
    /// One more identity; may be repeated
    #[arg(long, value_name = "IDENTITY")]
    add_identity: Vec<Identity>,
    /// One identity less; may be repeated
    #[arg(long, value_name = "IDENTITY")]
    remove_identity: Vec<Identity>,
    /// One more role; may be repeated
    #[arg(long, value_name = "ROLE", value_parser = role())]
    add_role: Vec<Role>,
    /// One role less; may be repeated
    #[arg(long, value_name = "ROLE", value_parser = role())]
    remove_role: Vec<Role>,
    /// One more key ring; may be repeated
    #[arg(long, value_name = "RING")]
    add_key_ring: Vec<RingArgument>,
    /// One key ring less; may be repeated
    #[arg(long, value_name = "RING")]
    remove_key_ring: Vec<RingArgument>,
    /// One more group; may be repeated
    #[arg(long, value_name = "GROUP", value_parser = group)]
    add_group: Vec<Id>,
    /// One group less; may be repeated
    #[arg(long, value_name = "GROUP", value_parser = group)]
    remove_group: Vec<Id>,
    /// An attribute, new or with another value; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = label)]
    attributes: Vec<(String, String)>,
    /// One attribute less, by its name; may be repeated
    #[arg(long, value_name = "NAME")]
    remove_attribute: Vec<String>,
    /// What each of its calls must bring from now on: certificate, api-key, oidc-token; may be repeated
    #[arg(long = "require", value_name = "FACTOR", value_parser = factor())]
    require: Vec<Factor>,
    /// What its calls need not bring any more; may be repeated
    #[arg(long = "no-longer-require", value_name = "FACTOR", value_parser = factor())]
    no_longer_require: Vec<Factor>,
    #[command(flatten)]
    limits: LimitChanges,
    /// Only if the caller's etag is still this one [default: the one that it has when the command reads it]
    #[arg(long)]
    etag: Option<String>,
}

/// Arguments of `callers suspend` and `callers resume`.
#[derive(Debug, Args)]
pub struct ChangeState {
    /// The caller's id
    #[arg(value_name = "CALLER")]
    caller: CallerArgument,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

pub(super) fn environment(text: &str) -> Result<Id, String> {
    Id::parse("the environment", text).map_err(|error| error.to_string())
}

pub(super) fn group(text: &str) -> Result<Id, String> {
    Id::parse("the group", text).map_err(|error| error.to_string())
}

/// Roles by their names, which `--help` and completion list.
pub(super) fn role() -> impl clap::builder::TypedValueParser<Value = Role> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|name| name.parse::<Role>())
}

fn factor() -> impl clap::builder::TypedValueParser<Value = Factor> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(Factor::ALL.map(Factor::as_str)).try_map(|name| name.parse::<Factor>())
}

impl CallersCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let mut callers = client.callers();
        let failed = |status| client.error(status);
        match self {
            Self::Create(create) => {
                let caller = callers.create_caller(create.into_request()?).await.map_err(failed)?;
                out.show(&CallerView::from(caller.into_inner()))?;
            }
            Self::List => out.show(&CallerList { callers: list(client).await? })?,
            Self::Show(Show { caller }) => {
                let caller = callers.get_caller(v1::GetCallerRequest { name: name(&caller) }).await.map_err(failed)?;
                out.show(&CallerView::from(caller.into_inner()))?;
            }
            Self::Update(update) => {
                let request = v1::GetCallerRequest { name: name(&update.caller) };
                let read = callers.get_caller(request).await.map_err(failed)?.into_inner();
                let request = update.into_request(read)?;
                let caller = callers.update_caller(request).await.map_err(failed)?;
                out.show(&CallerView::from(caller.into_inner()))?;
            }
            Self::Suspend(ChangeState { caller, reason }) => {
                let request = v1::SuspendCallerRequest { name: name(&caller), reason };
                let v1::SuspendCallerResponse { caller, open_intents } =
                    callers.suspend_caller(request).await.map_err(failed)?.into_inner();
                let caller =
                    caller.ok_or_else(|| Failure::failed("the service did not answer the suspended caller"))?;
                out.show(&SuspendedCallerView { caller: caller.into(), open_intents })?;
            }
            Self::Resume(ChangeState { caller, reason }) => {
                let request = v1::ResumeCallerRequest { name: name(&caller), reason };
                let caller = callers.resume_caller(request).await.map_err(failed)?;
                out.show(&CallerView::from(caller.into_inner()))?;
            }
        }
        Ok(Exit::Done)
    }
}

pub(super) fn name(CallerArgument(id): &CallerArgument) -> String {
    format!("callers/{id}")
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

pub(super) fn ring_names(rings: &[RingArgument]) -> Vec<String> {
    rings.iter().map(|RingArgument(ring)| ring.to_string()).collect()
}

fn numbers(factors: &[Factor]) -> Vec<i32> {
    let number = |factor: &Factor| match factor {
        Factor::Certificate => v1::AuthenticationFactor::Certificate.into(),
        Factor::ApiKey => v1::AuthenticationFactor::ApiKey.into(),
        Factor::OidcToken => v1::AuthenticationFactor::OidcToken.into(),
    };
    factors.iter().map(number).collect()
}

impl Create {
    fn into_request(self) -> Result<v1::CreateCallerRequest, Failure> {
        let Self {
            caller: CallerArgument(id),
            environment,
            identities,
            roles,
            key_rings,
            groups,
            attributes,
            required_factors,
            limits,
            request_id,
        } = self;
        let mut caller = v1::Caller {
            environment: environment.to_string(),
            identities: texts(&identities),
            groups: texts(&groups),
            roles: texts(&roles),
            key_rings: ring_names(&key_rings),
            attributes: attributes.into_iter().collect(),
            required_factors: numbers(&required_factors),
            ..v1::Caller::default()
        };
        limits.set(&mut caller);
        let request_id = request_id.map_or_else(new_request_id, Ok)?;
        Ok(v1::CreateCallerRequest { caller_id: id.to_string(), caller: Some(caller), request_id })
    }
}

impl Update {
    fn into_request(self, read: v1::Caller) -> Result<v1::UpdateCallerRequest, Failure> {
        let Self {
            caller: _,
            add_identity,
            remove_identity,
            add_role,
            remove_role,
            add_key_ring,
            remove_key_ring,
            add_group,
            remove_group,
            attributes: set_attributes,
            remove_attribute,
            require,
            no_longer_require,
            limits,
            etag,
        } = self;
        let mut paths = Vec::new();
        let mut change = |path: &str, changed: bool| {
            if changed {
                paths.push(path.to_owned());
            }
        };
        let identities = edited(read.identities, &texts(&add_identity), &texts(&remove_identity));
        change("identities", identities.1);
        let roles = edited(read.roles, &texts(&add_role), &texts(&remove_role));
        change("roles", roles.1);
        let key_rings = edited(read.key_rings, &ring_names(&add_key_ring), &ring_names(&remove_key_ring));
        change("key_rings", key_rings.1);
        let groups = edited(read.groups, &texts(&add_group), &texts(&remove_group));
        change("groups", groups.1);
        let factors = edited(read.required_factors, &numbers(&require), &numbers(&no_longer_require));
        change("required_factors", factors.1);
        let mut attributes: BTreeMap<String, String> = read.attributes.into_iter().collect();
        change("attributes", !set_attributes.is_empty() || !remove_attribute.is_empty());
        attributes.extend(set_attributes);
        attributes.retain(|name, _| !remove_attribute.contains(name));
        let mut caller = v1::Caller {
            name: read.name,
            identities: identities.0,
            groups: groups.0,
            roles: roles.0,
            key_rings: key_rings.0,
            attributes: attributes.into_iter().collect(),
            required_factors: factors.0,
            etag: etag.unwrap_or(read.etag),
            ..v1::Caller::default()
        };
        paths.extend(limits.set(&mut caller).into_iter().map(str::to_owned));
        if paths.is_empty() {
            return Err(Failure::usage("nothing is to be changed").hint("see `chancery callers update --help`"));
        }
        Ok(v1::UpdateCallerRequest { caller: Some(caller), update_mask: Some(FieldMask { paths }) })
    }
}

/// The values with some added and some removed, and whether any was named.
fn edited<T: Clone + PartialEq>(mut values: Vec<T>, add: &[T], remove: &[T]) -> (Vec<T>, bool) {
    for value in add {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    values.retain(|value| !remove.contains(value));
    (values, !add.is_empty() || !remove.is_empty())
}

async fn list(client: &Client) -> Result<Vec<CallerView>, Failure> {
    let mut callers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListCallersRequest { page_size: PAGE, page_token };
        let page = client.callers().list_callers(request).await.map_err(|status| client.error(status))?.into_inner();
        callers.extend(page.callers.into_iter().map(CallerView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(callers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: CallersCommand,
    }

    fn update(line: &str, read: v1::Caller) -> Result<v1::UpdateCallerRequest, Failure> {
        let line = Line::try_parse_from(["callers", "update"].into_iter().chain(line.split(' '))).unwrap();
        let CallersCommand::Update(update) = line.command else { panic!("parsed as something else") };
        update.into_request(read)
    }

    #[test]
    fn an_update_changes_what_it_names_on_what_was_read() {
        let read = v1::Caller {
            name: "callers/shop".to_owned(),
            roles: vec!["verifier".to_owned()],
            attributes: [("team".to_owned(), "a".to_owned()), ("tier".to_owned(), "gold".to_owned())].into(),
            etag: "7".to_owned(),
            ..v1::Caller::default()
        };
        let line = "shop --add-role signer --remove-role verifier --attribute team=b --remove-attribute tier";
        let request = update(line, read.clone()).unwrap();
        assert_eq!(request.update_mask.unwrap().paths, ["roles", "attributes"]);
        let caller = request.caller.unwrap();
        assert_eq!((caller.roles, caller.etag.as_str()), (vec!["signer".to_owned()], "7"));
        assert_eq!(caller.attributes, [("team".to_owned(), "b".to_owned())].into());
        let request = update("shop --max-uses-per-second 20 --max-signatures none", read.clone()).unwrap();
        assert_eq!(request.update_mask.unwrap().paths, ["max_uses_per_second", "max_signatures"]);
        let caller = request.caller.unwrap();
        assert_eq!((caller.max_uses_per_second, caller.max_signatures), (20, 0));
        assert!(update("shop", read.clone()).is_err(), "nothing is to be changed");
        assert_eq!(update("shop --add-role signer --etag 6", read).unwrap().caller.unwrap().etag, "6");
    }
}

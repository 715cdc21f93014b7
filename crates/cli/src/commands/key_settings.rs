//! What is laid down for a key, as it is typed.

use std::str::FromStr;
use std::time::Duration;

use chancery_client::{KeySettings, KeyUpdate};
use chancery_model::Timestamp;
use clap::{ArgGroup, Args, ValueEnum};

use super::keys::{distinct, label};
use crate::duration;
use crate::exit::Failure;
use crate::names::KeyArgument;

/// The rules of a new key.
#[derive(Debug, Args)]
pub struct Settings {
    /// Who answers for the key
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Let no version of the key be destroyed
    #[arg(long)]
    deletion_protection: bool,
    /// How often a new version takes over by itself, from 1h [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    rotation_period: Option<Duration>,
    /// How long before it takes over the next version is made and published [default: not before]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "rotation_period")]
    publish_ahead: Option<Duration>,
    /// How long a version signs before it is deactivated; at least the rotation period [default: without end]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    signing_period: Option<Duration>,
    /// How many signatures the key makes in all [default: without end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_signatures: Option<u64>,
    /// How many signatures the key makes a day, in UTC [default: without end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_daily_signatures: Option<u64>,
    /// How many uses the key has in a second, in the long run [default: without limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_uses_per_second: Option<u32>,
    /// How many uses at once [default: as many as in a second]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "max_uses_per_second")]
    max_burst: Option<u32>,
    /// How many uses may be under way at the same time [default: without limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_concurrent_uses: Option<u32>,
    /// Sign only what the caller has signed, too, with the key of its client certificate
    #[arg(long)]
    requires_caller_signature: bool,
}

impl From<Settings> for KeySettings {
    fn from(settings: Settings) -> Self {
        let Settings {
            owner,
            deletion_protection,
            rotation_period,
            publish_ahead,
            signing_period,
            max_signatures,
            max_daily_signatures,
            max_uses_per_second,
            max_burst,
            max_concurrent_uses,
            requires_caller_signature,
        } = settings;
        Self {
            owner,
            deletion_protection,
            rotation_period,
            next_rotation: None,
            publish_ahead,
            signing_period,
            max_signatures,
            max_daily_signatures,
            max_uses_per_second,
            max_burst,
            max_concurrent_uses,
            requires_caller_signature,
        }
    }
}

/// Arguments of `keys update`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args([
    "labels", "no_labels", "owner", "deletion_protection", "rotation_period", "next_rotation", "publish_ahead",
    "signing_period", "max_signatures", "max_daily_signatures", "max_uses_per_second", "max_burst",
    "max_concurrent_uses", "requires_caller_signature", "max_jwt_lifetime",
]))]
pub struct Update {
    /// RING/KEY
    key: KeyArgument,
    /// A label, in place of all that the key has; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Take all labels away
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// Who answers for the key; '' for nobody in particular
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Whether no version of the key is destroyed
    #[arg(long, value_enum, value_name = "ON|OFF")]
    deletion_protection: Option<Switch>,
    /// How often a new version takes over by itself, from 1h; none: never
    #[arg(long, value_name = "DURATION", value_parser = period)]
    rotation_period: Option<OrNone<Duration>>,
    /// When the next version takes over, at most a rotation period from now: RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::audit::moment)]
    next_rotation: Option<Timestamp>,
    /// How long before it takes over the next version is made and published; none: not before
    #[arg(long, value_name = "DURATION", value_parser = period)]
    publish_ahead: Option<OrNone<Duration>>,
    /// How long a version signs before it is deactivated; none: without end
    #[arg(long, value_name = "DURATION", value_parser = period)]
    signing_period: Option<OrNone<Duration>>,
    /// How many signatures the key makes in all; none: without end
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    max_signatures: Option<OrNone<u64>>,
    /// How many signatures the key makes a day, in UTC; none: without end
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    max_daily_signatures: Option<OrNone<u64>>,
    /// How many uses the key has in a second, in the long run; none: without limit
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    max_uses_per_second: Option<OrNone<u32>>,
    /// How many uses at once; none: as many as in a second
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    max_burst: Option<OrNone<u32>>,
    /// How many uses may be under way at the same time; none: without limit
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    max_concurrent_uses: Option<OrNone<u32>>,
    /// Whether the key signs only what its caller has signed, too
    #[arg(long, value_enum, value_name = "ON|OFF")]
    requires_caller_signature: Option<Switch>,
    /// The longest lifetime of a JWT that the key signs, up to 3650d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    max_jwt_lifetime: Option<Duration>,
    /// Only if the key's etag is still this one
    #[arg(long)]
    etag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// A value, or the word `none`, which takes it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrNone<T>(pub(super) Option<T>);

fn period(text: &str) -> Result<OrNone<Duration>, String> {
    if text == "none" { Ok(OrNone(None)) } else { duration::parse(text).map(|period| OrNone(Some(period))) }
}

pub(super) fn count<N: FromStr + Default + PartialEq>(text: &str) -> Result<OrNone<N>, String> {
    match text.parse::<N>() {
        _ if text == "none" => Ok(OrNone(None)),
        Ok(count) if count != N::default() => Ok(OrNone(Some(count))),
        _ => Err("expected a whole number from 1, or none".to_owned()),
    }
}

impl Update {
    /// As the service takes it.
    pub fn into_change(self) -> Result<KeyUpdate, Failure> {
        let Self {
            key: KeyArgument(name),
            labels,
            no_labels,
            owner,
            deletion_protection,
            rotation_period,
            next_rotation,
            publish_ahead,
            signing_period,
            max_signatures,
            max_daily_signatures,
            max_uses_per_second,
            max_burst,
            max_concurrent_uses,
            requires_caller_signature,
            max_jwt_lifetime,
            etag,
        } = self;
        let mut change = KeyUpdate::new(&name);
        if no_labels || !labels.is_empty() {
            change = change.labels(distinct(labels)?);
        }
        if let Some(owner) = owner {
            change = change.owner(Some(owner).filter(|owner| !owner.is_empty()));
        }
        if let Some(switch) = deletion_protection {
            change = change.deletion_protection(switch == Switch::On);
        }
        if let Some(OrNone(period)) = rotation_period {
            change = change.rotation_period(period);
        }
        if let Some(at) = next_rotation {
            change = change.next_rotation(at);
        }
        if let Some(OrNone(period)) = publish_ahead {
            change = change.publish_ahead(period);
        }
        if let Some(OrNone(period)) = signing_period {
            change = change.signing_period(period);
        }
        if let Some(OrNone(limit)) = max_signatures {
            change = change.max_signatures(limit);
        }
        if let Some(OrNone(limit)) = max_daily_signatures {
            change = change.max_daily_signatures(limit);
        }
        if let Some(OrNone(limit)) = max_uses_per_second {
            change = change.max_uses_per_second(limit);
        }
        if let Some(OrNone(limit)) = max_burst {
            change = change.max_burst(limit);
        }
        if let Some(OrNone(limit)) = max_concurrent_uses {
            change = change.max_concurrent_uses(limit);
        }
        if let Some(switch) = requires_caller_signature {
            change = change.requires_caller_signature(switch == Switch::On);
        }
        if let Some(lifetime) = max_jwt_lifetime {
            change = change.max_jwt_lifetime(lifetime);
        }
        Ok(match etag {
            Some(etag) => change.etag(etag),
            None => change,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_takes_away_and_nothing_else_is_taken_for_it() {
        assert_eq!(period("none"), Ok(OrNone(None)));
        assert_eq!(period("90d"), Ok(OrNone(Some(Duration::from_secs(90 * 24 * 3600)))));
        assert_eq!(count::<u64>("none"), Ok(OrNone(None)));
        assert_eq!(count("7"), Ok(OrNone(Some(7))));
        for text in ["", "0", "None", "-1", "1.5"] {
            assert!(count::<u64>(text).is_err(), "{text:?}");
        }
        assert!(period("never").is_err());
    }
}

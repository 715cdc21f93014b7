//! API keys: how they are named, and what a key narrows of what its caller may do. Their secrets are not known here.

use crate::{Action, ActionGroup, Id};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The public part of an API key: 12 characters of `[0-9A-Za-z]`. It names the key and opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKeyId([u8; Self::LENGTH]);

/// Not the id of an API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of an API key has 12 characters of [0-9A-Za-z]")]
pub struct InvalidApiKeyId;

impl ApiKeyId {
    /// How many characters it has.
    pub const LENGTH: usize = 12;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for ApiKeyId {
    type Err = InvalidApiKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().or(Err(InvalidApiKeyId))?;
        if bytes.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(bytes)) } else { Err(InvalidApiKeyId) }
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Whether what comes with an API key may change and make things, or only look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApiKeyAccess {
    /// Only what makes and changes nothing: verifying, and reading of every kind.
    ReadOnly,
    /// Everything that the scope and policy allow.
    ReadWrite,
}

impl ApiKeyAccess {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ReadOnly, Self::ReadWrite];

    /// The name used in the API, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "READ_ONLY",
            Self::ReadWrite => "READ_WRITE",
        }
    }
}

impl fmt::Display for ApiKeyAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no access.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown access {0:?} of an API key; write READ_ONLY or READ_WRITE")]
pub struct UnknownApiKeyAccess(pub String);

impl FromStr for ApiKeyAccess {
    type Err = UnknownApiKeyAccess;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|access| access.as_str() == word).ok_or_else(|| UnknownApiKeyAccess(word.to_owned()))
    }
}

/// What an API key leaves of what policy allows its caller. It never adds anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyScope {
    /// Read-only or read-write.
    pub access: ApiKeyAccess,
    /// These actions only; all where empty.
    pub actions: BTreeSet<Action>,
    /// Of what is in key rings, these rings only; all where empty.
    pub rings: BTreeSet<Id>,
    /// From these networks only; from anywhere where empty.
    pub networks: BTreeSet<Network>,
}

impl ApiKeyScope {
    /// Whether the scope leaves this action, on this ring where it is asked of a ring or of what is in one.
    #[must_use]
    pub fn takes(&self, action: Action, ring: Option<&Id>) -> bool {
        let access = match self.access {
            ApiKeyAccess::ReadWrite => true,
            ApiKeyAccess::ReadOnly => action.group().only_reads(),
        };
        access
            && (self.actions.is_empty() || self.actions.contains(&action))
            && ring.is_none_or(|ring| self.rings.is_empty() || self.rings.contains(ring))
    }

    /// Whether a call may come from this address; one that is not known is in no network.
    #[must_use]
    pub fn takes_source(&self, source: Option<IpAddr>) -> bool {
        self.networks.is_empty()
            || source.is_some_and(|source| self.networks.iter().any(|network| network.contains(source)))
    }
}

impl ActionGroup {
    /// Whether its actions make and change nothing.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        match self {
            Self::Verifying
            | Self::ReadingKeys
            | Self::ReadingPolicy
            | Self::Auditing
            | Self::ReadingTokens
            | Self::ReadingCallers => true,
            Self::Signing
            | Self::GeneratingRandom
            | Self::AdministeringKeys
            | Self::AdoptingKeys
            | Self::FreezingKeyRings
            | Self::ReportingCompromise
            | Self::DestroyingKeys
            | Self::AdministeringPolicy
            | Self::AdministeringTokens
            | Self::AdministeringCallers
            | Self::AdministeringApiKeys => false,
        }
    }
}

/// A network in CIDR notation, for example `10.20.0.0/16` or `2001:db8::/32`; of one address where no length is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Not of the form.
    #[error("a network is written in CIDR notation, for example 10.20.0.0/16 or 2001:db8::/32")]
    Form,
    /// Bits of the host are set.
    #[error("{given} is an address within a network of that length; write {network} for the network")]
    HostBits {
        /// What was given.
        given: String,
        /// The network that the address is in.
        network: Network,
    },
}

impl Network {
    /// Whether the address is in the network. An IPv4 address that came in an IPv6 one is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().or(Err(InvalidNetwork::Form))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let digits = |length: &str| (1..=3).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match length {
            None => longest,
            Some(length) if digits(length) => length.parse().or(Err(InvalidNetwork::Form))?,
            Some(_) => return Err(InvalidNetwork::Form),
        };
        if prefix > longest {
            return Err(InvalidNetwork::Form);
        }
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address {
            Ok(network)
        } else {
            Err(InvalidNetwork::HostBits { given: text.to_owned(), network })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_twelve_alphanumeric_characters() {
        let id: ApiKeyId = "0aZ9bY8cX7dW".parse().unwrap();
        assert_eq!((id.to_string().as_str(), format!("{id:?}").as_str()), ("0aZ9bY8cX7dW", "\"0aZ9bY8cX7dW\""));
        for text in ["", "0aZ9bY8cX7d", "0aZ9bY8cX7dWW", "0aZ9bY8cX7d_", "0aZ9bY8cX7dé"] {
            assert_eq!(text.parse::<ApiKeyId>(), Err(InvalidApiKeyId), "{text:?}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, inside, outside) in [
            ("10.20.0.0/16", "10.20.255.1", "10.21.0.0"),
            ("0.0.0.0/0", "192.0.2.1", "::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/0008", "2001:db8::/129", "a/8"]
        {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork::Form), "{text:?}");
        }
        let error = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.1.2.3/8 is an address within a network of that length; write 10.0.0.0/8 for the network"
        );
    }

    fn scope() -> ApiKeyScope {
        let (actions, rings, networks) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        ApiKeyScope { access: ApiKeyAccess::ReadWrite, actions, rings, networks }
    }

    #[test]
    fn an_empty_scope_leaves_everything_and_each_part_narrows_it() {
        let (ours, other) = (Id::parse("the ring", "ours").unwrap(), Id::parse("the ring", "other").unwrap());
        assert!(Action::ALL.into_iter().all(|action| scope().takes(action, Some(&ours))));
        let reading = ApiKeyScope { access: ApiKeyAccess::ReadOnly, ..scope() };
        assert!(reading.takes(Action::Verify, Some(&ours)) && reading.takes(Action::ListRecords, None));
        for action in [Action::Sign, Action::MacSign, Action::GenerateRandomBytes, Action::RotateKey] {
            assert!(!reading.takes(action, Some(&ours)), "{action}");
        }
        let signing = ApiKeyScope { actions: BTreeSet::from([Action::Sign]), ..scope() };
        assert!(signing.takes(Action::Sign, Some(&ours)) && !signing.takes(Action::Verify, Some(&ours)));
        let at_home = ApiKeyScope { rings: BTreeSet::from([ours.clone()]), ..scope() };
        assert!(at_home.takes(Action::Sign, Some(&ours)) && !at_home.takes(Action::Sign, Some(&other)));
        assert!(at_home.takes(Action::ListRecords, None), "what is in no ring is left to policy");
    }

    #[test]
    fn an_unknown_address_is_in_no_network() {
        assert!(scope().takes_source(None));
        let bound = ApiKeyScope { networks: BTreeSet::from(["10.0.0.0/8".parse().unwrap()]), ..scope() };
        assert!(bound.takes_source(Some("10.1.2.3".parse().unwrap())));
        assert!(!bound.takes_source(Some("11.1.2.3".parse().unwrap())) && !bound.takes_source(None));
    }
}

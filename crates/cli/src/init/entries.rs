//! Tokens, key rings and callers as one option each: `main,module=/opt/p11.so,label=signing,pin-file=/etc/pin`.
//!
//! The first part without a `=` is the id. What holds a comma is added to the file by hand.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use chancery_model::{Id, Role};
use chancery_server::config::{looks_secret, parse_identity};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

/// Where systemd puts the credentials of the unit in deploy/systemd; systemd.exec(5) promises this path.
pub const CREDENTIALS: &str = "/run/credentials/chancery.service";

/// A file that the service reads: a path, or `credential:NAME` for one that systemd passes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

/// A PKCS#11 token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// Its name in Chancery.
    pub id: Id,
    /// The module that reaches it.
    pub module: FilePath,
    /// Its label.
    pub label: String,
    /// Its serial number, where the label is not enough.
    pub serial: Option<String>,
    /// The file with its PIN.
    pub pin_file: FilePath,
    /// The environment of its worker. No secrets.
    pub environment: BTreeMap<String, String>,
}

/// A key ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingEntry {
    /// Its name.
    pub id: Id,
    /// Its token; not given: the only one.
    pub token: Option<Id>,
    /// Its environment; not given: the one of the whole.
    pub environment: Option<Id>,
}

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerEntry {
    /// Its name.
    pub id: Id,
    /// What names it in its certificate, as the service parses it.
    pub identities: Vec<String>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// The rings to which they extend.
    pub rings: Vec<Id>,
    /// Its groups.
    pub groups: Vec<Id>,
    /// Its environment; not given: the one of the whole.
    pub environment: Option<Id>,
}

impl FromStr for FilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("credential:") {
            // What systemd takes for a credential's name is wider; a path separator is what must not be in it.
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            return match name {
                "" | "." | ".." => Err("the credential has no name; write credential:NAME".to_owned()),
                name if name.chars().all(plain) => Ok(Self(PathBuf::from(CREDENTIALS).join(name))),
                name => Err(format!("{name:?} is no name of a credential: letters, digits, dots, dashes, underscores")),
            };
        }
        std::path::absolute(text).map(Self).map_err(|error| format!("{text:?} is no path: {error}"))
    }
}

impl FromStr for TokenEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Parts::read(text)?;
        if parts.values.contains_key("pin") {
            return Err("a PIN is never typed here; put it into a file and write pin-file=FILE".to_owned());
        }
        let token = Self {
            id: parts.id()?,
            module: parts.required("module")?.parse()?,
            label: parts.required("label")?,
            serial: parts.optional("serial")?,
            pin_file: parts.required("pin-file")?.parse()?,
            environment: parts.environment()?,
        };
        parts.finish("module, label, serial, pin-file, env.NAME").map(|()| token)
    }
}

impl FromStr for RingEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Parts::read(text)?;
        let ring = Self {
            id: parts.id()?,
            token: parts.optional_id("token")?,
            environment: parts.optional_id("environment")?,
        };
        parts.finish("token, environment").map(|()| ring)
    }
}

impl FromStr for CallerEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Parts::read(text)?;
        let caller = Self {
            id: parts.id()?,
            identities: parts.several("identity"),
            roles: parts.several("role").iter().map(|role| parse_role(role)).collect::<Result<_, _>>()?,
            rings: parts.several("ring").iter().map(|ring| parse_id(ring)).collect::<Result<_, _>>()?,
            groups: parts.several("group").iter().map(|group| parse_id(group)).collect::<Result<_, _>>()?,
            environment: parts.optional_id("environment")?,
        };
        if caller.identities.is_empty() {
            return Err("identity= is missing, for example identity=spiffe://example.org/checkout".to_owned());
        }
        for identity in &caller.identities {
            parse_identity(identity)?;
        }
        parts.finish("identity, role, ring, group, environment").map(|()| caller)
    }
}

/// Parses `--token`, and says what is wrong without repeating what was typed, as clap would: it may hold a secret that has
/// no place there.
#[derive(Debug, Clone)]
pub struct QuietToken;

impl TypedValueParser for QuietToken {
    type Value = TokenEntry;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<TokenEntry, clap::Error> {
        let parsed = value.to_str().ok_or_else(|| "is not UTF-8".to_owned()).and_then(str::parse);
        parsed.map_err(|wrong: String| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--token: {wrong}\n")).with_cmd(command)
        })
    }
}

/// An id of ours.
pub fn parse_id(text: &str) -> Result<Id, String> {
    Id::parse("an id", text).map_err(|error| format!("{text:?}: {error}"))
}

/// A role of the shipped policies.
pub fn parse_role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// A variable of a worker, `NAME=VALUE`. What looks like a secret is refused: the file is for everybody to read.
pub fn check_variable(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a variable has no name; write env.NAME=VALUE".to_owned());
    }
    if looks_secret(name) {
        return Err(format!(
            "{name} looks like a secret, and nothing secret goes into this file; let the module read it from a file of its own"
        ));
    }
    Ok(())
}

/// An entry taken apart.
struct Parts {
    id: Option<String>,
    values: BTreeMap<String, Vec<String>>,
}

impl Parts {
    fn read(text: &str) -> Result<Self, String> {
        let mut parts = Self { id: None, values: BTreeMap::new() };
        for (index, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                Some((name, value)) if !value.is_empty() => {
                    parts.values.entry(name.to_owned()).or_default().push(value.to_owned());
                }
                Some((name, _)) => return Err(format!("{name}= has no value")),
                None if index == 0 => parts.id = Some(part.to_owned()),
                // Not shown: it may be a PIN.
                None => return Err(format!("part {} is not of the form name=value", index + 1)),
            }
        }
        Ok(parts)
    }

    /// The first part, or `id=`.
    fn id(&mut self) -> Result<Id, String> {
        let named = self.optional("id")?;
        match (self.id.take(), named) {
            (Some(id), None) | (None, Some(id)) => parse_id(&id),
            (Some(_), Some(_)) => Err("the id is given twice".to_owned()),
            (None, None) => Err("begin with the id, for example main,name=value".to_owned()),
        }
    }

    fn several(&mut self, name: &str) -> Vec<String> {
        self.values.remove(name).unwrap_or_default()
    }

    fn optional(&mut self, name: &str) -> Result<Option<String>, String> {
        let mut values = self.several(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(format!("{name}= is given twice")),
        }
    }

    fn required(&mut self, name: &str) -> Result<String, String> {
        self.optional(name)?.ok_or_else(|| format!("{name}= is missing"))
    }

    fn optional_id(&mut self, name: &str) -> Result<Option<Id>, String> {
        self.optional(name)?.map(|text| parse_id(&text)).transpose()
    }

    fn environment(&mut self) -> Result<BTreeMap<String, String>, String> {
        let names: Vec<String> = self.values.keys().filter(|name| name.starts_with("env.")).cloned().collect();
        let mut environment = BTreeMap::new();
        for name in names {
            let value = self.required(&name)?;
            let name = name.trim_start_matches("env.");
            check_variable(name)?;
            environment.insert(name.to_owned(), value);
        }
        Ok(environment)
    }

    /// Nothing may be left.
    fn finish(self, known: &str) -> Result<(), String> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("{name}= is not known here; there are: {known}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_token_has_all_that_the_service_needs() {
        let text =
            "main,module=/opt/p11.so,label=signing keys,serial=0a,pin-file=credential:pin-main,env.CONF=/etc/p11=1";
        let token: TokenEntry = text.parse().unwrap();
        assert_eq!(token.id.as_str(), "main");
        assert_eq!((token.label.as_str(), token.serial.as_deref()), ("signing keys", Some("0a")));
        assert_eq!(token.pin_file.0, Path::new("/run/credentials/chancery.service/pin-main"));
        assert_eq!(token.environment["CONF"], "/etc/p11=1");
    }

    #[test]
    fn a_relative_path_is_made_absolute_here_and_not_where_the_file_lies() {
        assert!("certs/a.pem".parse::<FilePath>().unwrap().0.is_absolute());
        for name in ["credential:", "credential:..", "credential:a/b"] {
            assert!(name.parse::<FilePath>().is_err(), "{name}");
        }
    }

    #[test]
    fn rings_and_callers() {
        let ring: RingEntry = "payments,environment=staging".parse().unwrap();
        assert_eq!((ring.token, ring.environment.unwrap().as_str()), (None, "staging"));
        let text = "id=ops,identity=spiffe://a.example/ops,identity=dns:ops.example,role=auditor,role=signer,ring=r";
        let caller: CallerEntry = text.parse().unwrap();
        assert_eq!((caller.identities.len(), caller.roles.len(), caller.rings.len()), (2, 2, 1));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let token = |text: &str| text.parse::<TokenEntry>().unwrap_err();
        for (text, word) in [
            ("module=/a,label=b,pin-file=/c", "begin with the id"),
            ("Main,module=/a,label=b,pin-file=/c", "[a-z]"),
            ("main,label=b,pin-file=/c", "module= is missing"),
            ("main,module=/a,label=b", "pin-file= is missing"),
            ("main,module=/a,label=b,pin=1234", "never typed"),
            ("main,module=/a,label=b,pin-file=/c,label=d", "label= is given twice"),
            ("main,module=/a,label=b,pin-file=/c,colour=red", "colour= is not known"),
            ("main,module=/a,label=b,pin-file=/c,env.VENDOR_PASSWORD=x", "nothing secret"),
            ("main,module=,label=b,pin-file=/c", "module= has no value"),
            ("main,module", "not of the form"),
        ] {
            let said = token(text);
            assert!(said.contains(word), "{text}: {said}");
        }
        assert!("a,role=signer".parse::<CallerEntry>().unwrap_err().contains("identity= is missing"));
        assert!("a,identity=ops".parse::<CallerEntry>().unwrap_err().contains("spiffe://"));
        assert!("a,identity=spiffe://x.example/y,role=root".parse::<CallerEntry>().unwrap_err().contains("auditor"));
    }
}

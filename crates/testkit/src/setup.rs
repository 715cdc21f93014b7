//! What a test's Chancery has beside what `chancery dev` makes.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::{Authority, Chancery, Crl, Error, Module};

/// A Chancery to be started. Without anything added it is what `chancery dev` makes: ring `dev`, callers `operator` and
/// `caller`, the shipped roles.
#[derive(Default)]
pub struct Setup {
    pub(crate) callers: Vec<CallerSetup>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) module: Option<Module>,
    pub(crate) tokens: Vec<String>,
    policies: Vec<(String, String)>,
    crl: Option<Crl>,
    changes: Vec<Change>,
}

type Change = Box<dyn FnOnce(&mut Table) + Send>;

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("callers", &self.callers).finish_non_exhaustive()
    }
}

/// A registered caller, known by the SPIFFE id `spiffe://chancery.dev/{id}`, with a certificate of its own.
#[derive(Debug, Clone)]
pub struct CallerSetup {
    pub(crate) id: String,
    environment: String,
    roles: Vec<String>,
    groups: Vec<String>,
    rings: Vec<String>,
}

impl CallerSetup {
    /// A caller of the environment `dev` without roles, groups or rings.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            environment: "dev".to_owned(),
            roles: Vec::new(),
            groups: Vec::new(),
            rings: Vec::new(),
        }
    }

    /// Of another environment.
    #[must_use]
    pub fn environment(self, environment: &str) -> Self {
        Self { environment: environment.to_owned(), ..self }
    }

    /// With a role, for example `signer`.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.to_owned());
        self
    }

    /// In a group.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    /// With a ring to which its roles extend.
    #[must_use]
    pub fn ring(mut self, ring: &str) -> Self {
        self.rings.push(ring.to_owned());
        self
    }

    pub(crate) fn spiffe_id(&self) -> String {
        format!("spiffe://chancery.dev/{}", self.id)
    }

    fn to_table(&self) -> Table {
        let strings = |list: &[String]| Value::Array(list.iter().cloned().map(Value::String).collect());
        Table::from_iter([
            ("id".to_owned(), Value::String(self.id.clone())),
            ("environment".to_owned(), Value::String(self.environment.clone())),
            ("identities".to_owned(), strings(&[self.spiffe_id()])),
            ("roles".to_owned(), strings(&self.roles)),
            ("groups".to_owned(), strings(&self.groups)),
            ("key_rings".to_owned(), strings(&self.rings)),
        ])
    }
}

impl Setup {
    /// Adds a key ring on the development token.
    #[must_use]
    pub fn ring(self, id: &str, environment: &str) -> Self {
        let ring = Table::from_iter(
            [("id", id), ("token", "main"), ("environment", environment)]
                .map(|(name, value): (&str, &str)| (name.to_owned(), Value::String(value.to_owned()))),
        );
        self.configure(move |config| push(config, "key_ring", ring))
    }

    /// Adds a token of the same module, in a folder of its own, without a key ring: [`Setup::configure`] gives it one.
    #[must_use]
    pub fn token(mut self, id: &str) -> Self {
        self.tokens.push(id.to_owned());
        self
    }

    /// Adds a caller. [`Chancery::connect_as`] connects as it.
    #[must_use]
    pub fn with(mut self, caller: CallerSetup) -> Self {
        self.callers.push(caller.clone());
        self.configure(move |config| push(config, "caller", caller.to_table()))
    }

    /// Adds a document to the first policy set, beside the shipped roles.
    #[must_use]
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Changes the configuration file as parsed, before the service starts.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Table) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Sets an environment variable of the service.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Holds the clients' authority to a CRL; [`Chancery::publish_crl`] replaces it.
    #[must_use]
    pub fn crl(mut self, crl: Crl) -> Self {
        self.crl = Some(crl);
        self.configure(|config| {
            let authorities =
                config.get_mut("listener").and_then(|listener| listener.get_mut("client_ca")?.as_array_mut());
            if let Some(Value::Table(authority)) = authorities.and_then(|authorities| authorities.first_mut()) {
                authority.insert("crl".to_owned(), Value::String(CRL.to_owned()));
            }
        })
    }

    /// Puts the token into another PKCS#11 module than the one that `CHANCERY_TEST_MODULE` names.
    #[must_use]
    pub fn module(self, module: Module) -> Self {
        Self { module: Some(module), ..self }
    }

    /// Starts it, and waits until it serves.
    ///
    /// # Errors
    /// [`Error`] where it does not come up; with what it said.
    pub async fn start(self) -> Result<Chancery, Error> {
        Chancery::start_with(self).await
    }

    /// Whether the folder has to be prepared and changed before the service starts.
    pub(crate) fn changes_anything(&self) -> bool {
        !self.changes.is_empty() || !self.policies.is_empty() || !self.tokens.is_empty()
    }

    /// Changes a prepared folder. Its further tokens were prepared in folders of their own, in their order.
    pub(crate) fn apply(self, dir: &Path, token_dirs: &[PathBuf]) -> Result<(), Error> {
        if let Some(crl) = &self.crl {
            publish(dir, crl)?;
        }
        let path = dir.join("chancery.toml");
        let mut config = read_config(&path)?;
        for (id, from) in self.tokens.iter().zip(token_dirs) {
            push(&mut config, "token", further_token(id, from)?);
        }
        for (name, text) in self.policies {
            let file = dir.join("policy").join(&name);
            std::fs::write(&file, text).map_err(Error::system(format!("write {}", file.display())))?;
            if let Some(first) = config.get_mut("policy").and_then(|policy| policy.get_mut("first")?.as_array_mut()) {
                first.push(Value::String(format!("policy/{name}")));
            }
        }
        for change in self.changes {
            change(&mut config);
        }
        write_config(&path, &config)
    }
}

/// The token of a prepared folder, as another configuration names it.
fn further_token(id: &str, dir: &Path) -> Result<Table, Error> {
    let path = dir.join("chancery.toml");
    let mut config = read_config(&path)?;
    let token = config.get_mut("token").and_then(|tokens| tokens.get_mut(0)?.as_table_mut());
    let mut token = token.map(std::mem::take).unwrap_or_default();
    token.insert("id".to_owned(), Value::String(id.to_owned()));
    if let Some(Value::String(pin_file)) = token.get_mut("pin_file") {
        *pin_file = dir.join(&pin_file).display().to_string();
    }
    Ok(token)
}

/// The clients' authority's CRL, in the development folder.
const CRL: &str = "tls/ca.crl";

/// Issues a CRL by the development folder's authority and puts it in its place at once.
pub(crate) fn publish(dir: &Path, crl: &Crl) -> Result<(), Error> {
    let list = Authority::of_dev(dir)?.revocation_list(crl)?;
    let (path, beside) = (dir.join(CRL), dir.join("tls/ca.crl.new"));
    std::fs::write(&beside, list).map_err(Error::system(format!("write {}", beside.display())))?;
    std::fs::rename(&beside, &path).map_err(Error::system(format!("write {}", path.display())))
}

pub(crate) fn read_config(path: &Path) -> Result<Table, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::system(format!("read {}", path.display())))?;
    text.parse().map_err(|error: toml::de::Error| Error::Content { path: path.to_owned(), why: error.to_string() })
}

pub(crate) fn write_config(path: &Path, config: &Table) -> Result<(), Error> {
    let text =
        toml::to_string(config).map_err(|error| Error::Content { path: path.to_owned(), why: error.to_string() })?;
    std::fs::write(path, text).map_err(Error::system(format!("write {}", path.display())))
}

fn push(config: &mut Table, list: &str, table: Table) {
    let list = config.entry(list).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.push(Value::Table(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_stands_in_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("policy")).unwrap();
        let path = dir.path().join("chancery.toml");
        std::fs::write(&path, "[policy]\nfirst = [\"policy/roles.cedar\"]\n[[caller]]\nid = \"caller\"\n").unwrap();
        let setup = Setup::default()
            .ring("other", "prod")
            .with(CallerSetup::new("c").environment("prod").role("signer").ring("other"))
            .policy("more.cedar", "// more\n")
            .configure(|config| drop(config.insert("instance".to_owned(), Value::String("x".to_owned()))));
        assert!(setup.changes_anything() && !Setup::default().changes_anything());
        setup.apply(dir.path(), &[]).unwrap();

        let config = read_config(&path).unwrap();
        assert_eq!(config["key_ring"][0]["environment"].as_str(), Some("prod"));
        assert_eq!(config["caller"][0]["id"].as_str(), Some("caller"));
        assert_eq!(config["caller"][1]["identities"][0].as_str(), Some("spiffe://chancery.dev/c"));
        assert_eq!(config["policy"]["first"][1].as_str(), Some("policy/more.cedar"));
        assert_eq!(config["instance"].as_str(), Some("x"));
        assert_eq!(std::fs::read_to_string(dir.path().join("policy/more.cedar")).unwrap(), "// more\n");
    }

    #[test]
    fn a_further_token_is_that_of_its_own_folder() {
        let parent = tempfile::tempdir().unwrap();
        let (first, second) = (parent.path().join("first"), parent.path().join("second"));
        for (dir, serial) in [(&first, "1"), (&second, "2")] {
            std::fs::create_dir(dir).unwrap();
            let text = format!("[[token]]\nid = \"main\"\nserial = \"{serial}\"\npin_file = \"softhsm/pin\"\n");
            std::fs::write(dir.join("chancery.toml"), text).unwrap();
        }
        let setup = Setup::default().token("spare");
        assert!(setup.changes_anything());
        setup.apply(&first, std::slice::from_ref(&second)).unwrap();

        let config = read_config(&first.join("chancery.toml")).unwrap();
        let token = |place: usize, name: &str| config["token"][place][name].as_str().unwrap().to_owned();
        assert_eq!((token(0, "id"), token(0, "pin_file")), ("main".to_owned(), "softhsm/pin".to_owned()));
        assert_eq!((token(1, "id"), token(1, "serial")), ("spare".to_owned(), "2".to_owned()));
        assert_eq!(token(1, "pin_file"), second.join("softhsm/pin").display().to_string());
    }
}

//! The configuration and the first policy set of a development folder.

use chancery_policy::PolicySet;
use toml::Value;

use super::{Addresses, Folder};
use crate::dev::token::Prepared;
use crate::exit::Failure;
use crate::files::{self, Readers};

/// Whom callers' own signatures of requests are for.
const AUDIENCE: &str = "chancery-dev";

/// Writes the policy documents and `chancery.toml` where they are not there; what is there is the user's.
pub fn prepare(folder: &Folder, addresses: Addresses, token: &Prepared, done: &mut Vec<String>) -> Result<(), Failure> {
    let policy = folder.path("policy");
    std::fs::create_dir_all(&policy).map_err(|error| Failure::file("create the folder", &policy, error))?;
    let mut first = Vec::new();
    for document in PolicySet::shipped().documents() {
        let path = policy.join(&document.name);
        if files::read(&path)?.is_none() {
            files::write(&path, document.text.as_bytes(), Readers::Everybody)?;
            done.push(format!("wrote the first policy set {}", path.display()));
        }
        first.push(Value::String(format!("policy/{}", document.name)));
    }
    let path = folder.path("chancery.toml");
    if files::read(&path)?.is_none() {
        let text = render(folder, addresses, token, first);
        files::write(&path, text.as_bytes(), Readers::Everybody)?;
        done.push(format!("wrote {}", path.display()));
    }
    Ok(())
}

fn render(folder: &Folder, addresses: Addresses, token: &Prepared, first: Vec<Value>) -> String {
    let Prepared { token, module, home } = token;
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let listen = quoted(&addresses.listen.to_string());
    let admin = quoted(&addresses.admin.to_string());
    let first = Value::Array(first);
    let library = quoted(&module.library.display().to_string());
    let label = quoted(&token.label);
    let serial = quoted(&token.serial);
    let pin_file = quoted(&format!("{home}/pin"));
    let variable = &module.configuration.variable;
    let module_file = quoted(&module.configuration.path_in(&folder.path(home)).display().to_string());
    format!(
        r#"# Made by `chancery dev`, which never changes it again: edit it as you like, then restart.
# Relative paths are relative to this file. `chancery config check chancery.toml` says what is wrong with it.
instance = "dev"

[listener]
address = {listen}
certificate = "tls/server.pem"
private_key = "tls/server.key"
client_auth = "required"

[[listener.client_ca]]
certificate = "tls/ca.pem"
identity = "spiffe"                  # a caller is recognised by the one SPIFFE id in its certificate

[admin]                              # metrics, liveness, readiness; plain HTTP, so keep it on this machine
address = {admin}

[store]
path = "chancery.db"

[policy]
first = {first}      # in force until `chancery policy apply` replaces it

[hsm]
lock_dir = "locks"

[[token]]
id = "main"
module = {library}
label = {label}
serial = {serial}
pin_file = {pin_file}

[token.environment]
{variable} = {module_file}

[[key_ring]]
id = "dev"
token = "main"
environment = "dev"

[system_ring]                        # the service's own secrets: those that seal the state and that API keys are hashed under
token = "main"

[caller_signatures]                  # callers may sign their requests, too, for this audience (docs/caller-evidence.md)
audience = "{AUDIENCE}"

# Callers are registered when the service is started for the first time, and are changed by `chancery callers` from then on.
[[caller]]
id = "operator"
environment = "dev"
identities = ["spiffe://chancery.dev/operator"]
roles = ["key-administrator", "policy-administrator", "caller-administrator", "auditor"]
key_rings = ["dev"]

[[caller]]
id = "caller"
environment = "dev"
identities = ["spiffe://chancery.dev/caller"]
roles = ["signer"]
key_rings = ["dev"]

[telemetry]
log_format = "text"
log_filter = "info"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::token::{DevToken, Module};
    use chancery_hsm::ModuleConfiguration;
    use chancery_server::config;

    fn prepared(folder: &Folder, port: u16) -> Vec<String> {
        let addresses = Addresses { listen: ([127, 0, 0, 1], port).into(), admin: ([127, 0, 0, 1], port + 1).into() };
        let (label, serial) = ("chancery-dev".to_owned(), "0123456789abcdef".to_owned());
        let token = DevToken { label, serial, module: None };
        let module = Module { library: "/lib/a \"module\".so".into(), configuration: ModuleConfiguration::softhsm() };
        let mut done = Vec::new();
        prepare(folder, addresses, &Prepared { token, module, home: "softhsm" }, &mut done).unwrap();
        done
    }

    #[test]
    fn the_configuration_is_one_that_the_service_reads() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        assert_eq!(prepared(&folder, 7000).len(), 2);
        let config = config::load(&folder.path("chancery.toml")).unwrap();
        assert_eq!(config.listener.address.port(), 7000);
        assert_eq!(config.admin.unwrap().address.port(), 7001);
        assert_eq!(config.tokens[0].module, std::path::Path::new("/lib/a \"module\".so"));
        assert_eq!(config.tokens[0].serial.as_deref(), Some("0123456789abcdef"));
        assert_eq!(config.policy.first, [folder.path("policy/roles.cedar")]);
        assert_eq!(config.key_rings[0].id.as_str(), "dev");
        let roles: Vec<Vec<&str>> =
            config.callers.iter().map(|caller| caller.roles.iter().map(|role| role.as_str()).collect()).collect();
        assert_eq!(
            roles,
            [vec!["key-administrator", "policy-administrator", "auditor", "caller-administrator"], vec!["signer"]]
        );
    }

    #[test]
    fn what_the_user_changed_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        prepared(&folder, 7000);
        std::fs::write(folder.path("chancery.toml"), "mine").unwrap();
        std::fs::write(folder.path("policy/roles.cedar"), "mine too").unwrap();
        assert_eq!(prepared(&folder, 8000), [""; 0]);
        assert_eq!(std::fs::read_to_string(folder.path("chancery.toml")).unwrap(), "mine");
        assert_eq!(std::fs::read_to_string(folder.path("policy/roles.cedar")).unwrap(), "mine too");
    }
}

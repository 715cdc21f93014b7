//! Which service to call, and as whom: from options, the environment or a development folder.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_client::{ApiKey, Client, ConnectOptions};
use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use crate::dev::Announcement;
use crate::exit::Failure;

/// Over these options in the help.
pub const CONNECTION: &str = "Connection";

/// The options that every client command has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = CONNECTION)]
pub struct ConnectionArguments {
    /// The service's address, https://host:port [env: CHANCERY_ENDPOINT]
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// PEM file of the authority that issued the server's certificate [env: CHANCERY_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of your certificate [env: CHANCERY_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file of your certificate's private key [env: CHANCERY_KEY]
    #[arg(id = "private-key", long = "key", global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// File that holds your API key, in place of --cert and --key [env: CHANCERY_API_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["cert", "private-key"])]
    pub api_key_file: Option<PathBuf>,
    /// File that holds your token of an OIDC issuer, in place of --cert and --key [env: CHANCERY_OIDC_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["cert", "private-key", "api_key_file"])]
    pub oidc_token_file: Option<PathBuf>,
    /// The name that the server's certificate must bear, where it is not the endpoint's host
    #[arg(long, global = true, value_name = "NAME")]
    pub server_name: Option<String>,
    /// The folder of a running `chancery dev`: takes all of the above from DIR/dev.json [env: CHANCERY_DEV]
    #[arg(long, global = true, value_name = "DIR", conflicts_with_all = ["endpoint", "ca", "cert", "private-key", "api_key_file", "oidc_token_file"])]
    pub dev: Option<PathBuf>,
    /// With --dev: as whom [default: caller for what signs and verifies, operator for the rest]
    #[arg(long = "as", global = true, value_name = "WHO")]
    pub who: Option<DevIdentity>,
    /// Sign requests for signatures, too, with the key of --cert, for the service of this audience
    /// [env: CHANCERY_CALLER_SIGNATURE]
    #[arg(long, global = true, value_name = "AUDIENCE", conflicts_with_all = ["api_key_file", "oidc_token_file"])]
    pub caller_signature: Option<String>,
    /// How long a call may take, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// The two identities that `chancery dev` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DevIdentity {
    /// Administers keys, callers and policy, reads the record; never signs
    Operator,
    /// Signs and verifies
    Caller,
}

impl ConnectionArguments {
    /// Connects. `default` is who calls where `--dev` is given without `--as`.
    pub async fn connect(&self, default: DevIdentity) -> Result<Client, Failure> {
        let options = self.options(default, |name| std::env::var_os(name))?;
        Ok(Client::connect(options).await?)
    }

    /// Refuses `--caller-signature` for a command that has no use for it. From the environment, where it stands for all
    /// commands, it is passed over.
    pub fn refuse_caller_signature(&self, why: &str) -> Result<(), Failure> {
        match &self.caller_signature {
            Some(_) => Err(Failure::usage(format!("--caller-signature has no meaning here: {why}"))),
            None => Ok(()),
        }
    }

    /// Options before environment; a folder or an endpoint, never a mixture of both.
    fn options(
        &self,
        default: DevIdentity,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<ConnectOptions, Failure> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let explicit = self.endpoint.is_some()
            || self.ca.is_some()
            || self.cert.is_some()
            || self.key.is_some()
            || self.api_key_file.is_some()
            || self.oidc_token_file.is_some();
        let dev = match &self.dev {
            Some(dev) => Some(dev.clone()),
            None if explicit => None,
            None => environment("CHANCERY_DEV").map(PathBuf::from),
        };
        let mut options = match dev {
            Some(dev) if self.dev.is_none() && environment("CHANCERY_ENDPOINT").is_some() => {
                return Err(Failure::usage(format!(
                    "both CHANCERY_DEV ({}) and CHANCERY_ENDPOINT are set",
                    dev.display()
                ))
                .hint("unset one of them, or say --dev DIR or --endpoint URL"));
            }
            Some(dev) => dev_options(&dev, self.who.unwrap_or(default))?,
            None => self.explicit_options(environment)?,
        };
        options.server_name.clone_from(&self.server_name);
        let audience = || environment("CHANCERY_CALLER_SIGNATURE")?.into_string().ok();
        options.request_audience = self.caller_signature.clone().or_else(audience);
        options.request_timeout = Duration::from_secs(self.timeout);
        Ok(options)
    }

    fn explicit_options(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<ConnectOptions, Failure> {
        if self.who.is_some() {
            return Err(Failure::usage("--as goes with --dev (or CHANCERY_DEV) only")
                .hint("with --endpoint, the certificate of --cert says who you are"));
        }
        let path =
            |option: &Option<PathBuf>, variable| option.clone().or_else(|| environment(variable).map(PathBuf::from));
        let endpoint = self.endpoint.clone().or_else(|| environment("CHANCERY_ENDPOINT")?.into_string().ok());
        let ca = path(&self.ca, "CHANCERY_CA");
        let cert = path(&self.cert, "CHANCERY_CERT");
        let key = path(&self.key, "CHANCERY_KEY");
        let bearer = self.bearer(&environment);
        match (&bearer, &endpoint, &ca) {
            (Some(BearerFile::ApiKey(file)), Some(endpoint), Some(ca)) => {
                return Ok(ConnectOptions::with_api_key(endpoint, ca, read_api_key(file)?));
            }
            (Some(BearerFile::OidcToken(file)), Some(endpoint), Some(ca)) => {
                return Ok(ConnectOptions::with_oidc_token_file(endpoint, ca, file));
            }
            _ => {}
        }
        match (endpoint, ca, cert, key) {
            (Some(endpoint), Some(ca), Some(cert), Some(key)) => Ok(ConnectOptions::new(endpoint, ca, cert, key)),
            (endpoint, ca, cert, key) => {
                let missing: Vec<&str> = [
                    (endpoint.is_none(), "--endpoint (CHANCERY_ENDPOINT)"),
                    (ca.is_none(), "--ca (CHANCERY_CA)"),
                    (cert.is_none() && bearer.is_none(), "--cert (CHANCERY_CERT)"),
                    (key.is_none() && bearer.is_none(), "--key (CHANCERY_KEY)"),
                ]
                .into_iter()
                .filter_map(|(missing, name)| missing.then_some(name))
                .collect();
                Err(Failure::usage(format!(
                    "not known which service to call and as whom; missing: {}",
                    missing.join(", ")
                ))
                .hint("for a service of `chancery dev --dir DIR`, say --dev DIR or set CHANCERY_DEV=DIR"))
            }
        }
    }

    /// An option before the environment: a certificate that is named is not passed over for a key that is not.
    fn bearer(&self, environment: impl Fn(&str) -> Option<OsString>) -> Option<BearerFile> {
        match (&self.api_key_file, &self.oidc_token_file, &self.cert) {
            (Some(file), _, _) => Some(BearerFile::ApiKey(file.clone())),
            (None, Some(file), _) => Some(BearerFile::OidcToken(file.clone())),
            (None, None, Some(_)) => None,
            (None, None, None) => {
                let api_key = environment("CHANCERY_API_KEY_FILE").map(|file| BearerFile::ApiKey(file.into()));
                api_key.or_else(|| Some(BearerFile::OidcToken(environment("CHANCERY_OIDC_TOKEN_FILE")?.into())))
            }
        }
    }
}

/// What calls bring in place of a certificate.
enum BearerFile {
    ApiKey(PathBuf),
    OidcToken(PathBuf),
}

/// A file that holds an API key and nothing else, which nobody else can read.
fn read_api_key(path: &Path) -> Result<ApiKey, Failure> {
    let metadata = std::fs::metadata(path).map_err(|error| Failure::file("read", path, error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if chancery_hsm::others_can_use(path, mode) {
        let shown = path.display();
        return Err(Failure::local(format!("{shown} holds an API key and is open to other users (mode {mode:03o})"))
            .hint(format!("chmod 600 {shown}")));
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| Failure::file("read", path, error))?;
    Ok(ApiKey::parse(&text)?)
}

fn dev_options(folder: &Path, who: DevIdentity) -> Result<ConnectOptions, Failure> {
    let announcement = Announcement::read(folder)?;
    let identity = match who {
        DevIdentity::Operator => announcement.operator,
        DevIdentity::Caller => announcement.caller,
    };
    Ok(ConnectOptions::new(announcement.endpoint, announcement.ca, identity.cert, identity.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_client::Credentials;

    fn environment(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    }

    fn arguments() -> ConnectionArguments {
        ConnectionArguments { timeout: 7, ..ConnectionArguments::default() }
    }

    const ALL: &[(&str, &str)] = &[
        ("CHANCERY_ENDPOINT", "https://env:1"),
        ("CHANCERY_CA", "env-ca"),
        ("CHANCERY_CERT", "env-cert"),
        ("CHANCERY_KEY", "env-key"),
    ];

    #[test]
    fn options_come_before_the_environment() {
        let arguments = ConnectionArguments { ca: Some("ca".into()), ..arguments() };
        let options = arguments.options(DevIdentity::Caller, environment(ALL)).unwrap();
        assert_eq!((options.endpoint.as_str(), options.ca), ("https://env:1", PathBuf::from("ca")));
        assert_eq!(options.request_timeout, Duration::from_secs(7));
    }

    #[test]
    fn what_is_missing_is_listed() {
        let arguments = ConnectionArguments { endpoint: Some("https://x:1".into()), ..arguments() };
        let known = environment(&[("CHANCERY_KEY", "key"), ("CHANCERY_CERT", "")]);
        let (text, exit) = arguments.options(DevIdentity::Caller, known).unwrap_err().report();
        assert_eq!(exit, crate::exit::Exit::Usage);
        assert!(text.contains("missing: --ca (CHANCERY_CA), --cert (CHANCERY_CERT)\n"), "{text}");
    }

    #[test]
    fn a_token_of_an_issuer_takes_the_place_of_the_certificate() {
        const TOKEN: &[(&str, &str)] = &[
            ("CHANCERY_ENDPOINT", "https://env:1"),
            ("CHANCERY_CA", "env-ca"),
            ("CHANCERY_OIDC_TOKEN_FILE", "env-token"),
        ];
        let file = |arguments: &ConnectionArguments| match arguments
            .options(DevIdentity::Caller, environment(TOKEN))
            .unwrap()
            .credentials
        {
            Credentials::OidcTokenFile(path) => Some(path),
            _ => None,
        };
        assert_eq!(file(&arguments()), Some("env-token".into()));
        let named = ConnectionArguments { oidc_token_file: Some("token".into()), ..arguments() };
        assert_eq!(file(&named), Some("token".into()));
        let certificate = ConnectionArguments { cert: Some("cert".into()), key: Some("key".into()), ..arguments() };
        assert_eq!(file(&certificate), None, "an option before the environment");
    }

    #[test]
    fn a_folder_and_an_endpoint_in_the_environment_are_not_guessed_between() {
        let both = environment(&[("CHANCERY_DEV", "/d"), ("CHANCERY_ENDPOINT", "https://x:1")]);
        let (text, _) = arguments().options(DevIdentity::Caller, both).unwrap_err().report();
        assert!(text.contains("both CHANCERY_DEV"), "{text}");
    }

    #[test]
    fn the_folder_of_a_service_that_does_not_run_says_how_to_start_it() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ConnectionArguments { dev: Some(folder.path().into()), ..arguments() };
        let (text, exit) = arguments.options(DevIdentity::Caller, environment(ALL)).unwrap_err().report();
        assert_eq!(exit, crate::exit::Exit::Unavailable);
        assert!(text.contains("chancery dev --dir"), "{text}");
    }

    #[test]
    fn each_identity_has_its_own_files() {
        let folder = tempfile::tempdir().unwrap();
        let announcement = serde_json::json!({
            "endpoint": "https://127.0.0.1:1", "ca": "/d/ca", "operator": {"cert": "/d/o.pem", "key": "/d/o.key"},
            "caller": {"cert": "/d/c.pem", "key": "/d/c.key"}, "key_ring": "keyRings/dev", "config": "/d/chancery.toml",
            "admin_endpoint": "http://127.0.0.1:2"
        });
        std::fs::write(folder.path().join("dev.json"), announcement.to_string()).unwrap();
        let dev = ConnectionArguments { dev: Some(folder.path().into()), ..arguments() };
        let files = |arguments: &ConnectionArguments| {
            let options = arguments.options(DevIdentity::Caller, environment(&[])).unwrap();
            let Credentials::Certificate { certificate, private_key } = options.credentials else { panic!("no files") };
            (certificate, private_key)
        };
        assert_eq!(files(&dev), (PathBuf::from("/d/c.pem"), PathBuf::from("/d/c.key")));
        let operator = ConnectionArguments { who: Some(DevIdentity::Operator), ..dev };
        assert_eq!(files(&operator), (PathBuf::from("/d/o.pem"), PathBuf::from("/d/o.key")));
        let wrong = ConnectionArguments { dev: None, ..operator };
        assert!(wrong.options(DevIdentity::Caller, environment(ALL)).is_err(), "--as without a folder");
    }
}

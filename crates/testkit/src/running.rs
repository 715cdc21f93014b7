//! A Chancery that runs, or did.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use chancery_client::model::{Algorithm, KeyName};
use chancery_client::{Client, ClientError, ConnectOptions, NewKey};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use toml::Table;

use crate::authority::{Authority, Crl, IdentityFiles, Leaf};
use crate::launch::{Announcement, Launch, dir, failed, log, read_log, serving, token_home, wait};
use crate::process::{Process, binary};
use crate::setup::{self, Setup};
use crate::{Error, Module};

/// The id of the key that is ready.
const READY_KEY: &str = "ready";

/// A real Chancery in a temporary folder. Dropping it kills it and removes the folder; where the test failed, its log is
/// shown first. [`Chancery::stop`] stops it in good order.
#[derive(Debug)]
pub struct Chancery {
    // Fields are dropped in this order: the process before its folder.
    process: Process,
    announcement: Announcement,
    launch: Launch,
    module: Module,
    key: OnceCell<KeyName>,
    folder: TempDir,
}

impl Chancery {
    /// Starts what `chancery dev` makes, and waits until it serves.
    ///
    /// # Errors
    /// [`Error`] where it does not come up; with what it said.
    pub async fn start() -> Result<Self, Error> {
        Self::setup().start().await
    }

    /// Starts to say what else it should have.
    #[must_use]
    pub fn setup() -> Setup {
        Setup::default()
    }

    pub(crate) async fn start_with(mut setup: Setup) -> Result<Self, Error> {
        let binary = binary()?;
        let mut folder = tempfile::Builder::new()
            .prefix("chancery-test-")
            .tempdir()
            .map_err(Error::system("make a temporary folder"))?;
        folder.disable_cleanup(std::env::var_os("CHANCERY_TESTKIT_KEEP").is_some());
        let module = setup.module.map_or_else(Module::from_environment, Ok)?;
        let launch = Launch {
            arguments: module.arguments(&binary, folder.path())?,
            binary,
            environment: std::mem::take(&mut setup.environment),
        };
        let callers = setup.callers.clone();
        if setup.changes_anything() {
            let further: Vec<PathBuf> = setup.tokens.iter().map(|id| token_home(&folder, id)).collect();
            for dir in [&dir(&folder)].into_iter().chain(&further) {
                let mut preparing = Process::spawn(launch.dev(dir, &["--prepare"]), &log(&folder))?;
                let status = wait(&mut preparing, &folder).await?;
                if !status.success() {
                    return Err(failed(&folder, format!("dev --prepare ended with {status}")));
                }
            }
            setup.apply(&dir(&folder), &further)?;
        }
        let mut process = launch.start(&folder)?;
        let announcement = serving(&mut process, &folder).await?;
        let chancery = Self { process, announcement, launch, module, key: OnceCell::new(), folder };
        for caller in callers {
            chancery.issue(Leaf::spiffe(&caller.spiffe_id()), &caller.id)?;
        }
        Ok(chancery)
    }

    /// Connects as the operator, who administers keys, callers and policy, and reads the record.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub async fn operator(&self) -> Result<Client, Error> {
        self.connect(&self.operator_identity()).await
    }

    /// Connects as the caller, who signs and verifies in the ring `dev`.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub async fn caller(&self) -> Result<Client, Error> {
        self.connect(&self.caller_identity()).await
    }

    /// A P-256 key in the ring `dev`, with which the caller may sign: made when it is first asked for.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub async fn key(&self) -> Result<&KeyName, Error> {
        self.key.get_or_try_init(|| self.create_key(READY_KEY, Algorithm::EcdsaP256Sha256)).await
    }

    /// Makes another key in the ring `dev`. [`Chancery::operator`] and [`Client::create_key`] make any other.
    ///
    /// # Errors
    /// [`Error::Client`]: there is such a key already, its id is none, or the token does not offer the algorithm.
    pub async fn create_key(&self, id: &str, algorithm: Algorithm) -> Result<KeyName, Error> {
        let name: KeyName = format!("{}/keys/{id}", self.key_ring()).parse().map_err(ClientError::from)?;
        Ok(self.operator().await?.create_key(NewKey::new(name, algorithm)).await?.name)
    }

    /// Connects as a caller of the [`Setup`].
    ///
    /// # Errors
    /// [`Error::Client`], also where there is no such caller.
    pub async fn connect_as(&self, id: &str) -> Result<Client, Error> {
        let tls = self.identities();
        let identity =
            IdentityFiles { certificate: tls.join(format!("{id}.pem")), private_key: tls.join(format!("{id}.key")) };
        self.connect(&identity).await
    }

    /// Connects with a certificate.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub async fn connect(&self, identity: &IdentityFiles) -> Result<Client, Error> {
        Ok(Client::connect(self.connect_options(identity)).await?)
    }

    /// What [`Chancery::connect`] connects with, to change it.
    #[must_use]
    pub fn connect_options(&self, identity: &IdentityFiles) -> ConnectOptions {
        ConnectOptions::new(self.endpoint(), self.ca(), &identity.certificate, &identity.private_key)
    }

    /// The operator's certificate and private key, for other clients than ours.
    #[must_use]
    pub fn operator_identity(&self) -> IdentityFiles {
        self.announcement.operator.files()
    }

    /// The caller's certificate and private key.
    #[must_use]
    pub fn caller_identity(&self) -> IdentityFiles {
        self.announcement.caller.files()
    }

    /// Issues a certificate by the authority whose clients the service accepts.
    ///
    /// # Errors
    /// [`Error`] where it cannot be made.
    pub fn issue(&self, leaf: Leaf, name: &str) -> Result<IdentityFiles, Error> {
        let folder = self.identities();
        std::fs::create_dir_all(&folder).map_err(Error::system(format!("create {}", folder.display())))?;
        Authority::of_dev(&self.dir())?.issue(leaf, &folder, name)
    }

    /// Replaces the CRL of the authority whose clients the service accepts (see [`Setup::crl`]). The service takes notice
    /// within seconds, and at once on SIGHUP.
    ///
    /// # Errors
    /// [`Error`] where it cannot be made or written.
    pub fn publish_crl(&self, crl: &Crl) -> Result<(), Error> {
        setup::publish(&self.dir(), crl)
    }

    /// The development folder.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        dir(&self.folder)
    }

    /// The module of its token.
    #[must_use]
    pub const fn module(&self) -> Module {
        self.module
    }

    /// The folder of its token; its files are in `tokens` there.
    #[must_use]
    pub fn token_dir(&self) -> PathBuf {
        self.dir().join(self.module.home())
    }

    /// The folder of a token that [`Setup::token`] has added.
    #[must_use]
    pub fn further_token_dir(&self, id: &str) -> PathBuf {
        token_home(&self.folder, id).join(self.module.home())
    }

    /// Where certificates for tests go.
    #[must_use]
    pub fn identities(&self) -> PathBuf {
        self.folder.path().join("identities")
    }

    /// The public API, `https://127.0.0.1:PORT`. Another one after each restart.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.announcement.endpoint
    }

    /// Metrics and probes, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn admin_endpoint(&self) -> Option<&str> {
        self.announcement.admin_endpoint.as_deref()
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.announcement.ca
    }

    /// The development ring, `keyRings/dev`.
    #[must_use]
    pub fn key_ring(&self) -> &str {
        &self.announcement.key_ring
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.announcement.config
    }

    /// Changes the configuration file as parsed; [`Chancery::restart`] makes it so.
    ///
    /// # Errors
    /// [`Error`] where it cannot be read or written.
    pub fn configure(&self, change: impl FnOnce(&mut Table)) -> Result<(), Error> {
        let mut config = setup::read_config(self.config())?;
        change(&mut config);
        setup::write_config(self.config(), &config)
    }

    /// The service's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What the service has said until now, on standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.folder)
    }

    /// The command line, set to call this service (`CHANCERY_DEV`).
    #[must_use]
    pub fn cli(&self) -> Command {
        let mut command = Command::new(&self.launch.binary);
        let of_others = ["ENDPOINT", "CA", "CERT", "KEY", "API_KEY_FILE", "OIDC_TOKEN_FILE", "CALLER_SIGNATURE"];
        for name in of_others.map(|name| format!("CHANCERY_{name}")) {
            command.env_remove(name);
        }
        command.env("CHANCERY_DEV", self.dir());
        command
    }

    /// How the process ended, where it has.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process.ended()
    }

    /// Stops the service as an operator does (SIGTERM) and says how it ended. The folder goes.
    ///
    /// # Errors
    /// [`Error::System`].
    pub async fn stop(mut self) -> Result<ExitStatus, Error> {
        self.terminate().await
    }

    /// Stops the service (SIGTERM) and keeps the folder, for [`Chancery::restart`].
    ///
    /// # Errors
    /// [`Error::System`].
    pub async fn terminate(&mut self) -> Result<ExitStatus, Error> {
        if self.process.ended()?.is_none() {
            crate::signal(self.pid(), "TERM")?;
        }
        wait(&mut self.process, &self.folder).await
    }

    /// Kills the service (SIGKILL), keeps the folder.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn kill(&mut self) -> Result<ExitStatus, Error> {
        self.process.kill()
    }

    /// Starts the service again on the same folder; stops it first where it runs.
    ///
    /// # Errors
    /// [`Error`] where it does not come up; with what it said.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.terminate().await?;
        self.launch()?;
        self.wait_until_serving().await
    }

    /// Starts the service again on the same folder, without waiting for it. It must have ended.
    ///
    /// # Errors
    /// [`Error::Process`] where it has not ended, [`Error::System`].
    pub fn launch(&mut self) -> Result<(), Error> {
        if self.process.ended()?.is_none() {
            return Err(failed(&self.folder, "is to be started and still runs".to_owned()));
        }
        self.process = self.launch.start(&self.folder)?;
        Ok(())
    }

    /// Waits until the service that was launched serves.
    ///
    /// # Errors
    /// [`Error`] where it does not come up; with what it said.
    pub async fn wait_until_serving(&mut self) -> Result<(), Error> {
        self.announcement = serving(&mut self.process, &self.folder).await?;
        Ok(())
    }

    /// Sets an environment variable of the service, or takes it away, from its next start on.
    pub fn set_environment(&mut self, name: &str, value: Option<&str>) {
        self.launch.environment.retain(|(known, _)| known != name);
        self.launch.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Whether the folder stays when this is dropped, whatever `CHANCERY_TESTKIT_KEEP` says.
    pub fn keep_folder(&mut self, keep: bool) {
        self.folder.disable_cleanup(keep);
    }
}

impl Drop for Chancery {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show(&format!("---- log of chancery in {}\n{}", self.dir().display(), self.log()));
        }
    }
}

#[allow(clippy::print_stderr, reason = "the test runner captures and shows it with the failing test")]
fn show(text: &str) {
    eprintln!("{text}");
}

//! `chancery dev`: everything for development, in one folder and one process.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use chancery_server::ServeError;
use chancery_server::config::Config;
use clap::Args;
use time::OffsetDateTime;
use tokio::sync::oneshot;

use super::serve;
use crate::dev::{self, Addresses, Announcement, Folder, Module};
use crate::exit::{Exit, Failure};

/// Where a new folder's service listens for callers.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// Where a new folder's service listens for probes.
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9443);

/// Arguments of `dev`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
DIR gets a SoftHSM token, a certificate authority with certificates for the service, an operator and a caller, a \
configuration, a policy set and a database, and is its owner's alone. What is there is kept: stop and start it as you \
like; keys stay, the configuration is yours to edit. While the service serves, DIR/dev.json says how to reach it.

Not for production: SoftHSM keeps its keys in files, and the authority's private key lies beside them.

Another PKCS#11 module that keeps tokens in files goes with --module and --module-config, in a new folder: TEMPLATE is its configuration file with @TOKENS@ for the folder of its tokens, and VARIABLE the environment variable that names the file to it.

Examples:
  chancery dev --dir ~/.chancery
  chancery dev --dir /tmp/chancery --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
  sleep 3600 | chancery dev --dir /tmp/chancery --stop-on-eof             # for an hour
  chancery keys create dev/k --algorithm ED25519 --dev ~/.chancery        # in another terminal")]
pub struct DevCommand {
    /// The folder; made where there is none
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where callers connect; port 0 takes a free one [default: as configured; 127.0.0.1:8443 in a new folder]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where metrics and probes are served [default: as configured; 127.0.0.1:9443 in a new folder]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<SocketAddr>,
    /// PKCS#11 module of a new folder's token [default: SoftHSM]
    #[arg(long, value_name = "LIBRARY", requires = "module_config")]
    module: Option<PathBuf>,
    /// How that module is told of its files
    #[arg(long, value_name = "VARIABLE=TEMPLATE", requires = "module")]
    module_config: Option<String>,
    /// Make the folder complete, and do not serve
    #[arg(long)]
    prepare: bool,
    /// Stop when standard input ends: keep a pipe to it open, and the service ends when you do, however you end
    #[arg(long)]
    stop_on_eof: bool,
}

impl DevCommand {
    /// Prepares the folder, and serves until a signal comes.
    pub async fn run(self, out: &mut (dyn Write + Send)) -> Result<Exit, Failure> {
        let folder = Folder::open(&self.dir)?;
        let _lock = folder.lock()?;
        Announcement::remove(&folder)?;
        let addresses =
            Addresses { listen: self.listen.unwrap_or(LISTEN), admin: self.admin_listen.unwrap_or(ADMIN_LISTEN) };
        let module = match (&self.module, &self.module_config) {
            (Some(library), Some(configuration)) => Some(Module::other(library, configuration)?),
            _ => None,
        };
        for line in dev::prepare(&folder, addresses, module, OffsetDateTime::now_utc()).await? {
            say(out, &line)?;
        }
        if self.prepare {
            say(out, &format!("{} is complete; serve it: chancery dev --dir {0}", folder.root().display()))?;
            return Ok(Exit::Done);
        }
        let mut config = serve::load(&folder.path("chancery.toml"))?;
        self.override_addresses(&mut config);
        serve_announced(&folder, config, self.stop_on_eof, out).await?;
        Ok(Exit::Done)
    }

    /// What the command line says goes before what the configuration says.
    fn override_addresses(&self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.listener.address = listen;
        }
        if let (Some(listen), Some(admin)) = (self.admin_listen, &mut config.admin) {
            admin.address = listen;
        }
    }
}

/// Serves, with `dev.json` there from when the service serves to when it stops.
async fn serve_announced(
    folder: &Folder,
    config: Config,
    stop_on_eof: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    // Somebody may be waiting for dev.json: where it cannot be written, the service stops again.
    let (unannounced, failed) = oneshot::channel();
    let shutdown = async {
        tokio::select! {
            () = chancery_server::exit_on_signal() => None,
            () = end_of_input(), if stop_on_eof => None,
            Ok(failure) = failed => Some(failure),
        }
    };
    let mut failure = None;
    let served = chancery_server::serve(
        config,
        serve::worker_command(),
        |bound| {
            let announcement = Announcement::new(folder, bound.address, bound.admin_address);
            let announced = announcement.write(folder).and_then(|()| say(out, &welcome(folder, &announcement)));
            if let Err(failure) = announced {
                // The receiver lives as long as the service does.
                let _stopping_already = unannounced.send(failure);
            }
        },
        async { failure = shutdown.await },
    )
    .await;
    let removed = Announcement::remove(folder);
    served.map_err(|error| {
        let taken = matches!(error, ServeError::Listen { .. });
        let failure = serve::did_not_serve(error);
        if taken {
            failure.hint("--listen and --admin-listen name other addresses; port 0 takes a free one")
        } else {
            failure
        }
    })?;
    match failure {
        Some(failure) => Err(failure),
        None => removed,
    }
}

/// Returns when standard input ends, or cannot be read.
async fn end_of_input() {
    let (ended, end) = oneshot::channel();
    // A thread of its own, which the end of the process does not wait for; tokio's would be waited for.
    std::thread::spawn(move || {
        let _unreadable = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // Nobody listens where the service has stopped for another reason.
        let _stopped = ended.send(());
    });
    let _always_sent = end.await;
}

fn say(out: &mut dyn Write, line: &str) -> Result<(), Failure> {
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::output)
}

/// What to try first.
fn welcome(folder: &Folder, announcement: &Announcement) -> String {
    let dir = folder.root().display();
    let mut text = format!("chancery serves at {} (Ctrl-C stops it)\n", announcement.endpoint);
    if let Some(admin) = &announcement.admin_endpoint {
        let _infallible = writeln!(text, "metrics and probes: {admin}/metrics, /livez, /readyz");
    }
    let _infallible = write!(
        text,
        "\nTry, in another terminal:\n  \
         export CHANCERY_DEV={dir}\n  \
         chancery health\n  \
         chancery keys create dev/k --algorithm ECDSA_P256_SHA256\n  \
         echo 'pay 5 to Ada' > message\n  \
         chancery sign dev/k --in message --signature message.sig\n  \
         chancery verify dev/k --in message --signature message.sig\n  \
         chancery audit list\n  \
         chancery policy explain --caller operator --action Sign --resource dev/k\n"
    );
    text
}

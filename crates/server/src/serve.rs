//! The service from start to stop.
//!
//! Start: telemetry, the addresses, TLS, tokens, store, record, core, and then calls; a part that fails stops the start, and
//! what is up already is let go. Stop: health says NOT_SERVING, nothing more is accepted, calls under way are answered
//! within the grace period, then the core writes what is left and lets the tokens go, and telemetry is sent last.

use crate::admin::Admin;
use crate::assembly::{AssemblyError, Parts, assemble};
use crate::config::{self, Config, Finding, Severity};
use crate::connections::Connections;
use crate::grpc::{self, Office, ReflectionError, health};
use crate::layers::{self, Gates, InFlight, ObserveLayer};
use crate::metrics::{Metrics, Observed, Scope};
use crate::systemd::Supervisor;
use crate::telemetry::{Telemetry, TelemetryError};
use crate::tls::{Reloader, TlsError};
use crate::web::{Pages, Split, Web};
use chancery_hsm::WorkerCommand;
use chancery_oidc::{Issuer, Issuers};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::Layer as _;

/// Where the service can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// gRPC and key sets; the real port where the configuration says 0.
    pub address: SocketAddr,
    /// Metrics and probes, where they are configured.
    pub admin_address: Option<SocketAddr>,
}

/// Why the service does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What [`Config::check`] found does not let it start.
    #[error("the configuration {path} cannot be used:\n{}", list(.findings))]
    Configuration {
        /// The file.
        path: std::path::PathBuf,
        /// The errors; warnings are left out.
        findings: Vec<Finding>,
    },
    /// Telemetry cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("{field}: {address} cannot be listened on; {}", what_to_do(source.kind()))]
    Listen {
        /// The field of the configuration.
        field: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Tokens, store, record or core could not be brought up.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The services cannot be put together.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
    /// Signals cannot be listened to.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

fn what_to_do(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "stop what listens there, or name another address",
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address, or not yet: bring its network up, or name another address"
        }
        io::ErrorKind::PermissionDenied => {
            "name a port from 1024 on, or let the service use lower ones (CAP_NET_BIND_SERVICE)"
        }
        _ => "name another address",
    }
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Starts the service, calls `on_ready` once it takes calls, and serves until `shutdown` ends. `worker` is the command
/// that starts a token's worker: our own program again. Returns once everything has been let go in order.
///
/// A stop that is asked for while the service starts takes effect when it has started: a token that is being logged in
/// to is not to be cut off.
///
/// # Errors
/// [`ServeError`], where the service could not start.
pub async fn serve(
    config: Config,
    worker: WorkerCommand,
    on_ready: impl FnOnce(Bound) + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let findings = config.check();
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(ServeError::Configuration { path: config.path, findings: errors });
    }
    let telemetry = Telemetry::start(&config.telemetry, &config.instance)?;
    for Finding { field, message, .. } in warnings {
        tracing::warn!(field, "configuration: {field}: {message}");
    }
    let served = run(&config, &worker, on_ready, shutdown, &telemetry).await;
    if let Err(error) = &served {
        tracing::error!(error = error as &dyn std::error::Error, "the service does not start");
    }
    telemetry.shutdown().await;
    served
}

async fn run(
    config: &Config,
    worker: &WorkerCommand,
    on_ready: impl FnOnce(Bound) + Send,
    shutdown: impl Future<Output = ()> + Send,
    telemetry: &Telemetry,
) -> Result<(), ServeError> {
    // Before anything is asked of a token or written: an address may come late, and its start is then tried again and again.
    let reserved = Reserved::at("listener.address", config.listener.address)?;
    let (stop, stopped) = watch::channel(false);
    let mut background = JoinSet::new();
    let supervisor = Supervisor::from_environment();
    let ready_core = Arc::new(OnceLock::new());
    let ready_tls = Arc::new(OnceLock::new());
    // Where it is not said where an issuer's keys are, the check has refused the configuration.
    let issuers: Issuers = config.listener.oidc.iter().filter_map(config::Oidc::to_issuer).collect();
    // First, so that probes can tell a start that takes its time from one that hangs.
    let admin_address = match &config.admin {
        None => None,
        Some(admin) => {
            let reserved = Reserved::at("admin.address", admin.address)?;
            let address = reserved.address;
            let listener = reserved.listen()?;
            let (core, tls) = (Arc::clone(&ready_core), Arc::clone(&ready_tls));
            let issuers = issuers.clone();
            let admin = Admin { scrape: telemetry.scrape(), core, tls, issuers, stop: stopped.clone() };
            background.spawn(admin.serve(listener));
            Some(address)
        }
    };
    let scope = Scope {
        rings: config.key_rings.iter().map(|ring| &ring.id).collect(),
        tokens: config.tokens.iter().map(|token| &token.id).collect(),
        traced: telemetry.traced(),
    };
    let metrics = Metrics::new(&telemetry.meter(), telemetry.scrape().exemplars(), scope);
    let (reloader, tls) = Reloader::start(config.listener.clone())?;
    // It was set nowhere else.
    let _first = ready_tls.set(tls.clone());
    // A file that reaches the process's size limit (ulimit -f) raises SIGXFSZ, which kills. Once it is listened to, which
    // nothing undoes, the write fails instead: the record closes, and health says so, as with a disk that is full.
    let _unread = signal(SignalKind::from_raw(libc::SIGXFSZ)).map_err(ServeError::Signals)?;
    let hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
    background.spawn(reloader.run(hangup, metrics.clone(), supervisor.clone()));
    for issuer in issuers.iter().cloned() {
        background.spawn(Issuer::follow(issuer));
    }

    let mut shutdown = pin!(shutdown);
    let (assembled, stop_asked_for) = alongside(pin!(assemble(config, worker, &metrics)), shutdown.as_mut()).await;
    let Parts { core, tokens } = assembled?;
    let opened = async {
        let in_flight = InFlight::new(config.listener.limits.max_in_flight, metrics.clone());
        let (health, follower) = health::follow(core.clone(), stopped.clone());
        let office = Office { core: core.clone(), metrics: metrics.clone() };
        let limits = &config.listener.limits;
        let routes = grpc::routes(&office, health, limits, config.listener.reflection)?;
        let address = reserved.address;
        let listener = reserved.listen()?;
        let observed = ObserveLayer::new(metrics.clone(), telemetry.traced().then_some(address));
        let gates = Gates::new(&core, &tls, &issuers, limits, in_flight.clone(), &metrics);
        // Outermost, so that what the gates refuse is seen too: a span that continues the caller's trace, and the metric.
        let grpc = observed.layer(layers::gated(routes, gates.clone()));
        let pages = Pages(office);
        let pages = tower::service_fn(move |request| {
            let answer = pages.clone().answer(request);
            async move { Ok(answer.await) }
        });
        let web = Web { gated: layers::gated(pages, gates), metrics: metrics.clone() };
        let service = Split { grpc, web };
        Observed { core: core.clone(), tokens, in_flight, tls: tls.clone(), issuers: issuers.clone() }
            .register(&telemetry.meter());
        background.spawn(follower);
        // The core was set nowhere else.
        let _first = ready_core.set(core.clone());
        let connections = Connections { tls, limits: limits.clone(), metrics, service };
        Ok::<_, ServeError>((connections, listener, address))
    };
    let opened = opened.await;
    let result = match opened {
        Ok((connections, listener, address)) => {
            let serving = connections.serve(listener, stopped);
            if !stop_asked_for {
                let bound = Bound { address, admin_address };
                let admin_address = bound.admin_address.map(tracing::field::display);
                tracing::info!(%address, admin_address, "the service takes calls");
                on_ready(bound);
                supervisor.ready(address);
                background.spawn(supervisor.clone().beat(core.clone()));
            }
            let until_stopped = async {
                if !stop_asked_for {
                    shutdown.await;
                }
                tracing::info!("the service stops: nothing more is accepted, calls under way are answered");
                supervisor.stopping();
                stop.send_replace(true);
            };
            let (cut_off, ()) = tokio::join!(serving, until_stopped);
            if cut_off > 0 {
                tracing::warn!(
                    connections = cut_off,
                    "calls were still under way after the grace period and were cut off"
                );
            }
            Ok(())
        }
        Err(error) => Err(error),
    };
    core.shutdown().await;
    background.shutdown().await;
    tracing::info!("the service has stopped");
    result
}

/// How many connections wait in the kernel's queue, at most; what tokio's own listeners have.
const BACKLOG: u32 = 1024;

/// An address that is ours, and at which nobody can connect yet.
struct Reserved {
    field: &'static str,
    socket: TcpSocket,
    /// With the real port.
    address: SocketAddr,
}

impl Reserved {
    fn at(field: &'static str, address: SocketAddr) -> Result<Self, ServeError> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A service that was just stopped has left connections behind that the kernel has not forgotten yet.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok((socket.local_addr()?, socket))
        };
        let (address, socket) = bound().map_err(|source| ServeError::Listen { field, address, source })?;
        Ok(Self { field, socket, address })
    }

    /// From now on connections are taken. Fails where somebody else has begun to listen there since.
    fn listen(self) -> Result<TcpListener, ServeError> {
        let Self { field, socket, address } = self;
        socket.listen(BACKLOG).map_err(|source| ServeError::Listen { field, address, source })
    }
}

/// Drives `work` to its end, and says whether `signal` has ended meanwhile. The signal must be listened to all the time:
/// until somebody does, SIGTERM kills.
async fn alongside<T>(
    work: Pin<&mut impl Future<Output = T>>,
    signal: Pin<&mut impl Future<Output = ()>>,
) -> (T, bool) {
    let mut work = work;
    tokio::select! {
        biased;
        done = work.as_mut() => (done, false),
        () = signal => (work.await, true),
    }
}

/// Ends when the process is asked to stop: SIGTERM (by a supervisor) or SIGINT (by a person at a terminal).
///
/// Where the system does not let signals be received, it never ends, and the log says so.
pub async fn exit_on_signal() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("asked to stop by SIGTERM"),
                _ = interrupt.recv() => tracing::info!("asked to stop by SIGINT"),
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "signals cannot be received; stop with SIGKILL");
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_stop_during_the_start_is_remembered_and_cuts_nothing_off() {
        let work = pin!(async {
            sleep(Duration::from_secs(10)).await;
            7
        });
        let (done, asked) = alongside(work, pin!(sleep(Duration::from_secs(1)))).await;
        assert_eq!((done, asked), (7, true));
        let (done, asked) = alongside(pin!(async { 7 }), pin!(std::future::pending())).await;
        assert_eq!((done, asked), (7, false));
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_is_named_with_its_field_and_what_to_do() {
        let reserved = Reserved::at("listener.address", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.address;
        assert_ne!(address.port(), 0);
        let nobody = tokio::net::TcpStream::connect(address).await.unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::ConnectionRefused, "reserved is not served");
        let _held = reserved.listen().unwrap();
        tokio::net::TcpStream::connect(address).await.unwrap();
        let refused = |address: SocketAddr| match Reserved::at("listener.address", address) {
            Ok(reserved) => panic!("{} is ours", reserved.address),
            Err(error) => error.to_string(),
        };
        let taken = refused(address);
        assert!(taken.starts_with(&format!("listener.address: {address}")) && taken.contains("stop what"), "{taken}");
        // Of TEST-NET-1 (RFC 5737), which no machine has.
        let absent = refused("192.0.2.1:8443".parse().unwrap());
        assert!(absent.contains("or not yet"), "{absent}");
    }

    #[tokio::test]
    async fn of_two_who_have_reserved_an_address_one_gets_it() {
        let first = Reserved::at("listener.address", "127.0.0.1:0".parse().unwrap()).unwrap();
        let second = Reserved::at("admin.address", first.address).unwrap();
        let _held = first.listen().unwrap();
        let error = second.listen().map(drop).unwrap_err();
        assert!(matches!(error, ServeError::Listen { field: "admin.address", .. }), "{error}");
    }
}

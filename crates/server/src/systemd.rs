//! What the service tells systemd, or another supervisor that speaks sd_notify(3): that it takes calls, reads its
//! certificates again, stops, and lives.
//!
//! In scope: the datagrams to `$NOTIFY_SOCKET` and the beat that `$WATCHDOG_USEC` asks for. Out of scope: deciding to stop
//! or to reload (`serve`, `tls::reload`). Where the environment names no socket, nothing is sent and nothing is lost.
//!
//! Written here rather than taken from a crate, because it must never wait: a datagram that a supervisor does not take at
//! once is dropped, and the next beat comes anyway.

use chancery_core::Chancery;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr as TcpAddress;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Whoever started the service and wants to hear of it; nobody, where it was started by hand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
    /// After this time without a beat the supervisor replaces the service.
    patience: Option<Duration>,
    /// Between ready and stopping: only then is a reload spoken of, since READY=1 ends it.
    serving: Arc<AtomicBool>,
}

impl Supervisor {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. A socket that cannot be reached is logged: the service
    /// serves, and the supervisor will say that it never became ready.
    pub(crate) fn from_environment() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        let socket = match connect(&address) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the supervisor's socket (NOTIFY_SOCKET) cannot be used; it is told nothing");
                None
            }
        };
        let variable = |name| env::var(name).ok();
        let patience = patience(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        Self { socket, patience, serving: Arc::default() }
    }

    /// The service takes calls at `address`.
    pub(crate) fn ready(&self, address: TcpAddress) {
        self.serving.store(true, Ordering::Relaxed);
        self.send(&format!("READY=1\nSTATUS=takes calls at {address}"));
    }

    /// Certificates are being read again; [`Supervisor::reloaded`] ends it. The time is what a unit of
    /// `Type=notify-reload` waits for.
    pub(crate) fn reloading(&self) {
        if self.socket.is_some() && self.serving.load(Ordering::Relaxed) {
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
        }
    }

    /// Certificates were read again, or the old ones stay in force: either way the service takes calls.
    pub(crate) fn reloaded(&self) {
        if self.serving.load(Ordering::Relaxed) {
            self.send("READY=1");
        }
    }

    /// Nothing more is accepted.
    pub(crate) fn stopping(&self) {
        self.serving.store(false, Ordering::Relaxed);
        self.send("STOPPING=1\nSTATUS=stops: calls under way are answered, the record is closed");
    }

    /// Beats at half the interval that the supervisor asked for, until dropped.
    ///
    /// A beat says what `/livez` says, that the process answers, and not what `/readyz` says, that it signs. A token that
    /// is away, a PIN that was refused or a record that is closed are not cured by a new process: the first two heal or
    /// wait for a person, and the third must not be waved away by a restart before somebody has looked at the disk. What a
    /// new process does cure is this one being stuck, so a beat is sent only after the runtime has run a fresh task to its
    /// end, and that task has been through every lock that the health of the service is read under.
    pub(crate) async fn beat(self, core: Chancery) {
        let (Some(_), Some(patience)) = (&self.socket, self.patience) else { return };
        let mut beats = interval((patience / 2).max(Duration::from_millis(1)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let core = core.clone();
            let answered = tokio::spawn(async move { drop(core.health()) }).await;
            match answered {
                Ok(()) => self.send("WATCHDOG=1"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(
                        error,
                        "the service's health cannot be read; the supervisor is not told that it lives"
                    );
                }
            }
        }
    }

    fn send(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(state.as_bytes()) {
            tracing::warn!(error = &error as &dyn std::error::Error, state, "the supervisor could not be told");
        }
    }
}

/// A socket in the file system, or in the abstract namespace where the name begins with `@`.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither an absolute path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The supervisor's patience, where it has any with the process `own`.
fn patience(micros: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let meant = match pid {
        None => true,
        Some(pid) => pid.parse() == Ok(own),
    };
    let micros: u64 = micros?.parse().ok()?;
    (meant && micros > 0).then(|| Duration::from_micros(micros))
}

/// CLOCK_MONOTONIC in microseconds.
#[allow(unsafe_code, reason = "the standard library does not tell this clock's own value, which the protocol asks for")]
fn monotonic_micros() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that lives through the call, which writes to nothing else.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    debug_assert_eq!(done, 0, "Linux always has this clock");
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(address: &OsStr) -> Supervisor {
        Supervisor { socket: Some(Arc::new(connect(address).unwrap())), ..Supervisor::default() }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_state_is_one_datagram() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = supervisor(path.as_os_str());
        supervisor.reloading();
        supervisor.reloaded();
        supervisor.ready("127.0.0.1:8443".parse().unwrap());
        // What came before it was not said: READY=1 after a reload would have called the start done.
        assert_eq!(received(&socket), "READY=1\nSTATUS=takes calls at 127.0.0.1:8443");
        let before = monotonic_micros();
        supervisor.reloading();
        let reloading = received(&socket);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<i64>().unwrap();
        assert!((before..=monotonic_micros()).contains(&micros), "{reloading}");
        supervisor.reloaded();
        assert_eq!(received(&socket), "READY=1");
        supervisor.stopping();
        assert!(received(&socket).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("chancery-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        supervisor(OsStr::new(&format!("@{name}"))).stopping();
        assert!(received(&socket).starts_with("STOPPING=1\n"));
        assert!(connect(OsStr::new("relative")).is_err());
    }

    /// A supervisor that does not read costs the service nothing.
    #[test]
    fn a_full_socket_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _unread = UnixDatagram::bind(&path).unwrap();
        let supervisor = supervisor(path.as_os_str());
        for _ in 0..10_000 {
            supervisor.stopping();
        }
    }

    #[test]
    fn patience_is_that_with_this_process() {
        let text = |text: &str| Some(text.to_owned());
        let second = Some(Duration::from_secs(1));
        assert_eq!(patience(text("1000000"), None, 7), second);
        assert_eq!(patience(text("1000000"), text("7"), 7), second);
        assert_eq!(patience(text("1000000"), text("8"), 7), None, "it is another's");
        assert_eq!(patience(None, text("7"), 7), None);
        assert_eq!(patience(text("0"), None, 7), None);
        assert_eq!(patience(text("soon"), None, 7), None);
    }
}

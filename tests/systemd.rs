//! The service tells its supervisor what sd_notify(3) asks for, in order, and a beat means that it lives.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_testkit::{Chancery, signal};
use chancery_tests::contract::{PATIENCE, admin_get, eventually};

/// A beat is due at half of this.
const WATCHDOG: Duration = Duration::from_millis(200);

/// The supervisor: a bound socket, and a thread that empties it at once, as systemd does.
struct Supervisor {
    messages: Receiver<String>,
    own: UnixDatagram,
}

impl Supervisor {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let own = UnixDatagram::unbound().unwrap();
        own.connect(path).unwrap();
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self { messages, own }
    }

    fn next(&self) -> String {
        self.messages.recv_timeout(PATIENCE).unwrap()
    }

    /// What came since the last look, until now: datagrams keep their order, so what we send ourselves marks the place.
    fn until_now(&self) -> Vec<String> {
        self.own.send(b"MARK").unwrap();
        let mut before = Vec::new();
        loop {
            match self.next() {
                mark if mark == "MARK" => return before,
                message => before.push(message),
            }
        }
    }

    /// Skips beats.
    fn next_news(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }
}

/// Whether every thread of the process has stopped (proc_pid_stat(5): the state follows the name in parentheses).
fn has_stopped(pid: u32) -> bool {
    let stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(stopped)
}

#[tokio::test]
async fn the_supervisor_hears_of_start_life_reload_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let supervisor = Supervisor::new(&path);
    let micros = WATCHDOG.as_micros().to_string();
    let setup = Chancery::setup().environment("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut chancery = setup.environment("WATCHDOG_USEC", &micros).start().await.unwrap();

    // READY=1 comes first, and only when calls are taken.
    let ready = supervisor.next();
    let address = chancery.endpoint().strip_prefix("https://").unwrap();
    assert_eq!(ready, format!("READY=1\nSTATUS=takes calls at {address}"));
    for _ in 0..3 {
        assert_eq!(supervisor.next(), "WATCHDOG=1");
    }

    // SIGHUP reads certificates again; READY=1 ends it.
    signal(chancery.pid(), "HUP").unwrap();
    let reloading = supervisor.next_news();
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(supervisor.next_news(), "READY=1");

    // A process that is stopped does not beat, however long one waits.
    signal(chancery.pid(), "STOP").unwrap();
    let until = Instant::now() + PATIENCE;
    while !has_stopped(chancery.pid()) {
        assert!(Instant::now() < until, "SIGSTOP does not stop it");
        sleep(Duration::from_millis(5));
    }
    supervisor.until_now();
    sleep(5 * WATCHDOG);
    assert_eq!(supervisor.until_now(), [""; 0], "a stopped process beats");
    signal(chancery.pid(), "CONT").unwrap();
    assert_eq!(supervisor.next(), "WATCHDOG=1");

    // A service whose token is away does not sign, and lives: a new process would not bring the token back.
    let (there, away) = (chancery.token_dir().join("tokens"), chancery.token_dir().join("away"));
    let request = v1::GetTokenRequest { name: "tokens/main".to_owned() };
    let token = chancery.operator().await.unwrap().tokens().get_token(request).await.unwrap().into_inner();
    std::fs::rename(&there, &away).unwrap();
    // A checkpoint that is signed just then may have met the token that is gone, and the worker is gone already.
    let _gone = signal(token.worker_pid, "KILL");
    eventually("the news of the token", async || (admin_get(&chancery, "/readyz").await.0 == 503).then_some(())).await;
    supervisor.until_now();
    for _ in 0..3 {
        assert_eq!(supervisor.next(), "WATCHDOG=1");
    }
    assert_eq!(admin_get(&chancery, "/livez").await.0, 200);
    std::fs::rename(&away, &there).unwrap();

    // STOPPING=1 is the last word; beats may come while calls under way are answered.
    let status = chancery.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    let last: Vec<String> = supervisor.until_now().into_iter().filter(|message| message != "WATCHDOG=1").collect();
    assert_eq!(last.len(), 1, "{last:?}");
    assert!(last.iter().all(|message| message.starts_with("STOPPING=1\nSTATUS=")), "{last:?}");
}

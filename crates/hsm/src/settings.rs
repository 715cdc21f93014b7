//! What has to be known to hold a token.

use crate::Pin;
use chancery_model::Id;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Longest message in bytes that goes to a token as it is: Ed25519 and ML-DSA sign the message itself, not a digest.
pub const MAX_DEVICE_MESSAGE_BYTES: usize = 65_536;

/// Longest message in bytes of which a token makes or checks a MAC: it reads the message itself, too.
pub const MAX_MAC_MESSAGE_BYTES: usize = MAX_DEVICE_MESSAGE_BYTES;

/// Most random bytes that one call asks of a token.
pub const MAX_RANDOM_BYTES: usize = 1_024;

/// Requests that are on their way in one lane at the same time. More would only wait in the worker,
/// where they are lost with it, instead of in the service, where they are not.
pub(crate) const LANE_DEPTH: usize = 8;

/// Without an answer for this long, while a call overruns its deadline, a worker is taken for hung. Below it a
/// call that came with a tiny deadline would take the token away from everybody else.
pub(crate) const HANG_PATIENCE: Duration = Duration::from_secs(1);

/// How long the service waits for the first worker of a token before it comes up without: the worker goes on starting.
pub(crate) const FIRST_START_PATIENCE: Duration = Duration::from_secs(10);

/// How long a worker that is replaced may take to answer what it has. Nothing new is sent to it meanwhile.
pub(crate) const REPLACING_PATIENCE: Duration = Duration::from_secs(2);

/// How long a worker that was let go may take to leave before it is killed, while all it can do is sign.
pub(crate) const SIGNING_GRACE: Duration = Duration::from_millis(500);

/// The same for an orderly stop, where nothing suggests that the worker hangs.
pub(crate) const ORDERLY_GRACE: Duration = Duration::from_secs(10);

/// The same for a worker that logs in or generates: a kill there can destroy a SoftHSM token.
pub(crate) const DELICATE_GRACE: Duration = Duration::from_secs(60);

/// How long a new worker may take to load its module, get the lock, find the token and log in.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a worker waits for the lock of its token: a predecessor that drains needs some of it.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// All that is needed to hold one token. `Debug` shows no PIN.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Our name for the token, from the configuration.
    pub id: Id,
    /// The PKCS#11 shared library.
    pub module: PathBuf,
    /// CKA label of the token (up to 32 bytes). A token is found by label and serial, never by slot number;
    /// if several match, none is taken.
    pub label: String,
    /// Serial number of the token (up to 16 bytes), where the label alone does not tell it apart.
    pub serial: Option<String>,
    /// The user PIN.
    pub pin: Pin,
    /// The file that holds the PIN, read anew when an operator clears the token's PIN latch. Without one the same PIN is
    /// tried.
    pub pin_file: Option<PathBuf>,
    /// Environment of the worker, for example `SOFTHSM2_CONF`. It is empty otherwise.
    pub module_environment: BTreeMap<String, String>,
    /// Directory of the token's lock, PIN latch and mark of initialisation. All that open the same token
    /// must be given the same directory.
    pub lock_dir: PathBuf,
    /// Lanes: threads that sign, each with a session of its own. More than the machine (or the HSM) has cores gain
    /// nothing. Capped to what the token's session limit allows.
    pub signing_threads: usize,
    /// Idle for so long, each session is touched, since some devices and firewalls end what is idle: less than what they
    /// allow.
    pub keepalive: Duration,
    /// Resident memory of the worker in bytes, above which it is drained and replaced. The kernel refuses it four times as
    /// much (RLIMIT_DATA), which stops a leak that is faster than that.
    pub max_worker_memory_bytes: u64,
    /// Requests to sign and the like that may wait in the service when every lane is full; beyond it a request is refused as
    /// overloaded. One flow gets four fifths of it at most.
    pub queue_limit: usize,
}

/// How to start a worker: our own program with its hidden command. The program must call
/// [`crate::worker::run`] and do nothing before that opens files or starts threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments. Secrets never go here.
    pub arguments: Vec<String>,
}

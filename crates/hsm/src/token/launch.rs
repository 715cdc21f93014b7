//! Starting worker processes and seeing them off.

use crate::settings::LANE_DEPTH;
use crate::wire::{
    CONTROL_FD, MAX_LANE_FRAME_BYTES, Started, Task, TokenAddress, control_length, decode_control, encode_control,
};
use crate::{DELICATE_GRACE, HsmError, HsmErrorKind, ORDERLY_GRACE, TokenSettings, WorkerCommand};
use command_fds::{CommandFdExt, FdMapping};
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// What a lane's socket is asked to hold: several of the largest frames.
const SEND_BUFFER_BYTES: usize = LANE_DEPTH * MAX_LANE_FRAME_BYTES;

/// A worker that has answered for the first time.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) control: UnixStream,
    pub(crate) lanes: Vec<LaneSocket>,
    pub(crate) started: Started,
}

/// The service's end of a lane, not blocking.
pub(crate) struct LaneSocket {
    pub(crate) socket: BlockingStream,
    /// Bytes of requests that may be on their way; half of the send buffer, since the kernel counts its own overhead.
    pub(crate) budget: usize,
}

impl TokenAddress {
    /// With the PIN of the settings, and any serial number that they allow.
    pub(crate) fn of(settings: &TokenSettings) -> Self {
        Self {
            seen_serial: None,
            module: settings.module.clone(),
            label: settings.label.clone(),
            serial: settings.serial.clone(),
            pin: settings.pin.clone(),
            lock_dir: settings.lock_dir.clone(),
        }
    }
}

/// Starts a worker, gives it its task, and waits for its first answer. `what` begins every error.
pub(crate) async fn launch(
    what: &str,
    worker: &WorkerCommand,
    environment: &BTreeMap<String, String>,
    lanes: usize,
    task: Task,
    patience: Duration,
) -> Result<Launched, HsmError> {
    let failed = |step: &str, error: io::Error| {
        HsmError::caused(HsmErrorKind::Module, format!("{what}: {step} {}: {error}", worker.program.display()), error)
    };
    let (child, control, lanes) =
        spawn(worker, environment, lanes).map_err(|error| failed("cannot start the worker", error))?;
    let mut control = control;
    let greeting = async {
        send(&mut control, &task).await?;
        receive::<Started>(&mut control).await
    };
    match timeout(patience, greeting).await {
        Ok(Ok(started)) => Ok(Launched { child, control, lanes, started }),
        Ok(Err(error)) => {
            drop((control, lanes));
            let mut end = String::from("it did not end");
            if let Some(status) = see_off(child, DELICATE_GRACE).await {
                end = status.to_string();
            }
            Err(failed(&format!("the worker gave no answer ({end}); its program is"), error))
        }
        Err(_elapsed) => {
            drop((control, lanes));
            see_off(child, DELICATE_GRACE).await;
            let seconds = patience.as_secs();
            let message = format!("{what}: the PKCS#11 module did not come back within {seconds} s");
            Err(HsmError::new(HsmErrorKind::Module, message))
        }
    }
}

/// Starts a worker for one task and waits until it has ended.
pub(crate) async fn run_once(
    what: &str,
    worker: &WorkerCommand,
    environment: &BTreeMap<String, String>,
    task: Task,
    patience: Duration,
) -> Result<Started, HsmError> {
    let Launched { child, control, lanes, started } = launch(what, worker, environment, 0, task, patience).await?;
    drop((control, lanes));
    see_off(child, DELICATE_GRACE).await;
    Ok(started)
}

/// Waits for a worker that was let go: its sockets are closed. It drains and leaves by itself; after `grace` it is
/// killed. Returns how it ended.
pub(crate) async fn see_off(mut child: Child, grace: Duration) -> Option<std::process::ExitStatus> {
    if let Ok(ended) = timeout(grace, child.wait()).await {
        return ended.ok();
    }
    let pid = child.id();
    tracing::warn!(worker = pid, "a worker did not leave in time and is killed");
    if let Err(error) = child.start_kill() {
        tracing::warn!(worker = pid, %error, "killing a worker failed");
    }
    // In a driver that does not let go of it nobody can end it. Its successor is told that it still holds the token.
    timeout(grace.max(ORDERLY_GRACE), child.wait()).await.ok()?.ok()
}

/// Sends a control frame.
pub(crate) async fn send(control: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    control.write_all(&encode_control(message)?).await
}

/// Receives a control frame.
pub(crate) async fn receive<T: DeserializeOwned>(control: &mut UnixStream) -> io::Result<T> {
    let mut head = [0; 4];
    control.read_exact(&mut head).await?;
    let mut body = Zeroizing::new(vec![0; control_length(head)?]);
    control.read_exact(&mut body).await?;
    decode_control(&body)
}

fn spawn(
    worker: &WorkerCommand,
    environment: &BTreeMap<String, String>,
    lanes: usize,
) -> io::Result<(Child, UnixStream, Vec<LaneSocket>)> {
    let mut mappings = Vec::with_capacity(lanes + 1);
    let mut child_fd = CONTROL_FD;
    let mut pair = || -> io::Result<BlockingStream> {
        let (ours, theirs) = BlockingStream::pair()?;
        ours.set_nonblocking(true)?;
        mappings.push(FdMapping { parent_fd: theirs.into(), child_fd });
        child_fd += 1;
        Ok(ours)
    };
    let control = UnixStream::from_std(pair()?)?;
    let lanes = (0..lanes).map(|_| pair().and_then(lane_socket)).collect::<io::Result<Vec<_>>>()?;

    let mut command = Command::new(&worker.program);
    command
        .args(&worker.arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // What a vendor library has to say goes where the service's own noise goes.
        .stderr(Stdio::inherit());
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    // The command owns the worker's ends of the sockets: it must be gone before we wait for their end.
    let child = tokio::process::Command::from(command).spawn()?;
    Ok((child, control, lanes))
}

fn lane_socket(socket: BlockingStream) -> io::Result<LaneSocket> {
    let options = SockRef::from(&socket);
    options.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    let budget = options.send_buffer_size()? / 2;
    if budget < MAX_LANE_FRAME_BYTES {
        return Err(io::Error::other(format!(
            "a socket takes only {budget} bytes where {MAX_LANE_FRAME_BYTES} are needed; raise net.core.wmem_max"
        )));
    }
    Ok(LaneSocket { socket, budget })
}

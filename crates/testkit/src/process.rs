//! The real binary as a child process.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::Error;

/// Between two looks at a process or a file.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// The binary: `CHANCERY_BIN`; or `chancery` in `target/<profile>`, where this test was built, as in Chancery's own
/// workspace; or `chancery` on the `PATH`.
pub(crate) fn binary() -> Result<PathBuf, Error> {
    let given = std::env::var_os("CHANCERY_BIN").filter(|path| !path.is_empty()).map(PathBuf::from);
    let test = std::env::current_exe().map_err(Error::system("find the test's own program"))?;
    find(given, &test, std::env::var_os("PATH").as_deref())
}

fn find(given: Option<PathBuf>, test: &Path, search: Option<&OsStr>) -> Result<PathBuf, Error> {
    if let Some(path) = given {
        return if path.is_file() { Ok(path) } else { Err(Error::NoSuchBinary { path }) };
    }
    // target/<profile>/deps/<test>, target/<profile>/examples/<example>, or target/<profile>/<program>.
    let folder = test.parent().unwrap_or(Path::new("."));
    let nested = folder.ends_with("deps") || folder.ends_with("examples");
    let built = if nested { folder.parent().unwrap_or(folder) } else { folder }.join("chancery");
    let installed = search.into_iter().flat_map(std::env::split_paths).map(|folder| folder.join("chancery"));
    std::iter::once(built.clone()).chain(installed).find(|path| path.is_file()).ok_or(Error::NoBinary { built })
}

/// A child, first of a process group of its own. Dropped while it runs, it is killed with all of its group: nothing of it is
/// wanted any more, and an orderly stop would wait for the test's own connections, which do not close while a runtime of one
/// thread is busy dropping.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it; what it says is appended to the file `log`. Its standard input ends when this process does, however that
    /// ends.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Self, Error> {
        let open = || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(log) };
        let failed = || Error::system(format!("open {}", log.display()));
        let (out, err) = (open().map_err(failed())?, open().map_err(failed())?);
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(Error::system(format!("start {}", program.display())))?;
        Ok(Self { child, ended: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, where it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(Error::system("look after the process"))?;
        }
        Ok(self.ended)
    }

    /// SIGKILL; how it ended.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus, Error> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.child.kill().map_err(Error::system("kill the process"))?;
        let status = self.child.wait().map_err(Error::system("wait for the process"))?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody left to be told.
        if matches!(self.ended(), Ok(None)) {
            let _unsaid = send("KILL", &format!("-{}", self.pid()));
            let _unsaid = self.child.wait();
        }
    }
}

/// Sends a signal, for example `STOP` or `KILL`, to a process, for example a token's worker (`Token.worker_pid`).
///
/// # Errors
/// [`Error::System`] where there is no such process, or no right to signal it.
pub fn signal(pid: u32, signal: &str) -> Result<(), Error> {
    // What a token without a worker has for one; to kill(2) it is everybody in the test's own group, its runner included.
    if pid == 0 {
        let nobody = std::io::Error::other("0 is no process");
        return Err(Error::system(format!("send SIG{signal} to process 0"))(nobody));
    }
    send(signal, &pid.to_string())
}

/// To a process, or to a group: `-{id}`.
fn send(signal: &str, target: &str) -> Result<(), Error> {
    let failed = || Error::system(format!("send SIG{signal} to process {target}"));
    // By the shell's own `kill`: the system call would be the only unsafe code in here.
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "sh", signal, target])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(failed())?;
    if status.success() { Ok(()) } else { Err(failed()(std::io::Error::other(format!("kill ended with {status}")))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Instant;

    fn shell(script: &str, log: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command, log).unwrap()
    }

    #[test]
    fn nobody_is_signalled_where_there_is_no_process() {
        assert!(signal(0, "CONT").unwrap_err().to_string().contains("process 0"));
    }

    #[test]
    fn the_binary_is_the_one_that_is_named_then_the_one_that_was_built_then_the_installed_one() {
        let folder = tempfile::tempdir().unwrap();
        let make = |relative: &str| {
            let path = folder.path().join(relative);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let test = make("debug/deps/test-0123");
        let bin = folder.path().join("bin");
        let missing = find(None, &test, Some(bin.as_os_str())).unwrap_err().to_string();
        assert!(missing.contains("debug/chancery") && missing.contains("CHANCERY_BIN"), "{missing}");
        let installed = make("bin/chancery");
        assert_eq!(find(None, &test, Some(bin.as_os_str())).unwrap(), installed);
        let built = make("debug/chancery");
        assert_eq!(find(None, &test, Some(bin.as_os_str())).unwrap(), built);
        assert_eq!(find(None, &make("debug/examples/e"), None).unwrap(), built);
        let named = make("named");
        assert_eq!(find(Some(named.clone()), &test, None).unwrap(), named);
        let nowhere = find(Some(folder.path().join("nowhere")), &test, None).unwrap_err();
        assert!(matches!(nowhere, Error::NoSuchBinary { .. }), "{nowhere}");
    }

    #[test]
    fn a_process_is_terminated_and_its_words_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = shell("echo up; exec sleep 600", &log);
        while std::fs::read_to_string(&log).unwrap() != "up\n" {
            std::thread::sleep(POLL);
        }
        assert!(process.ended().unwrap().is_none());
        signal(process.pid(), "TERM").unwrap();
        while process.ended().unwrap().is_none() {
            std::thread::sleep(POLL);
        }
        assert_eq!(process.ended().unwrap().unwrap().signal(), Some(15));
        assert!(signal(process.pid(), "TERM").is_err(), "it is gone");
    }

    #[test]
    fn a_dropped_process_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process = shell("sleep 600 & echo $!; wait", &log);
        let pid = process.pid();
        let child: u32 = loop {
            if let Ok(child) = std::fs::read_to_string(&log).unwrap().trim().parse() {
                break child;
            }
            std::thread::sleep(POLL);
        };
        drop(process);
        assert!(signal(pid, "0").is_err());
        let until = Instant::now() + Duration::from_secs(10);
        // A zombie until whoever has adopted it looks after it.
        while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < until, "its child stays");
            std::thread::sleep(POLL);
        }
    }
}

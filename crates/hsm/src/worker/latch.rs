//! A refused PIN is noted on disk and never tried again: a few more attempts would lock the token for good.

use super::fault::Fault;
use super::lock;
use crate::HsmErrorKind;
use crate::return_codes::Cure;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The latch of one token: a file that is there once the PIN was refused.
#[derive(Debug)]
pub(super) struct PinLatch {
    path: PathBuf,
}

impl PinLatch {
    /// The latch of the token that is known by this label and serial.
    pub(super) fn new(directory: &Path, label: &str, serial: &str) -> Self {
        Self { path: lock::file(directory, label, Some(serial), "pin-latch") }
    }

    /// Lets a login pass only while the PIN was never refused.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match std::fs::read_to_string(&self.path) {
            Ok(reason) => Err(self.latched(reason.trim())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Fails closed: a latch that cannot be read may be there.
            Err(error) => Err(Fault::new(
                HsmErrorKind::PinLatched,
                format!("cannot tell whether the PIN was refused before: reading {}: {error}", self.path.display()),
            )),
        }
    }

    /// Forgets that the PIN was refused, since it has been accepted.
    pub(super) fn release(&self) -> Result<(), Fault> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Fault::new(
                HsmErrorKind::PinLatched,
                format!(
                    "the PIN was accepted, but {} cannot be removed ({error}), so it would not be tried again; remove it",
                    self.path.display()
                ),
            )),
        }
    }

    /// Notes that the PIN was refused.
    pub(super) fn engage(&self, refusal: &Fault) -> Fault {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let reason = format!("{} at {seconds} seconds after 1970-01-01 UTC", refusal.message);
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| file.write_all(reason.as_bytes()).and_then(|()| file.sync_all()));
        let found = match written {
            Ok(()) => self.latched(&reason),
            Err(error) => Fault::new(
                HsmErrorKind::PinLatched,
                format!(
                    "the PIN was refused, and noting that in {} failed ({error}): a restart would try the PIN again",
                    self.path.display()
                ),
            ),
        };
        Fault { cure: Cure::Latch, ..refusal.clone().reclassified(found) }
    }

    fn latched(&self, reason: &str) -> Fault {
        let path = self.path.display();
        // A new worker will not get in either, and that is how the service learns that the token is latched.
        Fault::new(
            HsmErrorKind::PinLatched,
            format!(
                "the PIN was refused and is not tried again ({reason}); put the PIN right, then let one login be tried \
                 (chancery token clear-pin-latch); the refusal is noted in {path}"
            ),
        )
        .replacing()
    }
}

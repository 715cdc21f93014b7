//! Looks for changed files every few seconds and on SIGHUP, and replaces the material in force. A reload that fails
//! leaves the old material in force, and says so in log and metrics until it succeeds.

use super::{Freshness, Tls, TlsError, load};
use crate::config::Listener;
use crate::metrics::Metrics;
use crate::systemd::Supervisor;
use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::Signal;

/// How often the files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Watches the files of a listener.
pub(crate) struct Reloader {
    listener: Listener,
    tls: Tls,
    /// What the files looked like when they were read last, successfully or not.
    seen: Vec<Option<Stamp>>,
    /// Counts how often the files were read.
    generation: u64,
}

/// Enough of a file's metadata to see that it was written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Reloader {
    /// Reads the files for the first time.
    pub(crate) fn start(listener: Listener) -> Result<(Self, Tls), TlsError> {
        // Before the files are read: what changes in between is seen as a change.
        let seen = stamps(&listener);
        let tls = Tls::new(load(&listener, 0)?);
        Ok((Self { listener, tls: tls.clone(), seen, generation: 0 }, tls))
    }

    /// Runs until dropped. `hangup` is the stream of SIGHUPs; `supervisor` hears of what was done about each.
    pub(crate) async fn run(mut self, mut hangup: Signal, metrics: Metrics, supervisor: Supervisor) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut crls = CrlWatch::default();
        loop {
            crls.look(&self.tls, SystemTime::now());
            let result = tokio::select! {
                _ = ticks.tick() => self.reload_if_changed(),
                _ = hangup.recv() => {
                    supervisor.reloading();
                    self.seen = stamps(&self.listener);
                    let reloaded = self.reload();
                    supervisor.reloaded();
                    Some(reloaded)
                }
            };
            match result {
                None => {}
                Some(Ok(())) => {
                    metrics.tls_reloaded(true);
                    tracing::info!(certificate = %self.listener.certificate.display(), "TLS certificate, authorities and CRLs were read again");
                }
                Some(Err(error)) => {
                    metrics.tls_reloaded(false);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "TLS certificate, authorities or CRLs changed and cannot be used; the old ones stay in force"
                    );
                }
            }
        }
    }

    /// `None`: nothing changed. A failed reload is tried again when a file changes again.
    pub(super) fn reload_if_changed(&mut self) -> Option<Result<(), TlsError>> {
        let now = stamps(&self.listener);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        Some(self.reload())
    }

    fn reload(&mut self) -> Result<(), TlsError> {
        self.generation += 1;
        let material = load(&self.listener, self.generation)?;
        material.authorities.may_follow(&self.tls.current().authorities)?;
        self.tls.replace(material);
        Ok(())
    }
}

/// Says in the log, once, that a CRL is about to be out of date, or is.
#[derive(Default)]
struct CrlWatch {
    said: HashMap<PathBuf, Freshness>,
}

impl CrlWatch {
    fn look(&mut self, tls: &Tls, now: SystemTime) {
        for crl in tls.current().authorities.crls() {
            let freshness = crl.freshness(now);
            let before = self.said.insert(crl.path.clone(), freshness).unwrap_or(Freshness::Fresh);
            if freshness == before {
                continue;
            }
            match freshness {
                Freshness::Fresh => tracing::info!(crl = %crl.path.display(), "the CRL is in time again"),
                Freshness::Due => tracing::warn!(crl = %crl.path.display(), "{}", crl.shown(now)),
                Freshness::Stale => tracing::error!(crl = %crl.path.display(), "{}", crl.shown(now)),
            }
        }
    }
}

fn stamps(listener: &Listener) -> Vec<Option<Stamp>> {
    let authorities = listener.client_cas.iter().flat_map(|it| [Some(it.certificate.as_path()), it.crl.as_deref()]);
    [listener.certificate.as_path(), listener.private_key.as_path()]
        .into_iter()
        .chain(authorities.flatten())
        .map(stamp)
        .collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata: Metadata = std::fs::metadata(path).ok()?;
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    Some(Stamp { modified: metadata.modified().ok(), length: metadata.len(), inode })
}

#[cfg(test)]
mod tests;

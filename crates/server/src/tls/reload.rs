//! Looks for changed files every few seconds and on SIGHUP, and replaces the material in force. The service's own certificate
//! and key are one half of it, authorities and their CRLs the other. A half that cannot be used leaves the old one in force, says
//! so in log and metrics, and is tried again at each look; it does not keep back the other.

use super::material::{Pair, load_authorities};
use super::{Authorities, Freshness, Material, Tls, TlsError, load};
use crate::config::Listener;
use crate::metrics::Metrics;
use crate::systemd::Supervisor;
use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    /// What is to be read: it was changed, or could not be used the last time.
    due: Due,
    /// Counts how often the files were read.
    generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    pair: bool,
    authorities: bool,
}

impl Due {
    const NOTHING: Self = Self { pair: false, authorities: false };
    const ALL: Self = Self { pair: true, authorities: true };
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
        Ok((Self { listener, tls: tls.clone(), seen, due: Due::NOTHING, generation: 0 }, tls))
    }

    /// Runs until dropped. `hangup` is the stream of SIGHUPs; `supervisor` hears of what was done about each.
    pub(crate) async fn run(mut self, mut hangup: Signal, metrics: Metrics, supervisor: Supervisor) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut crls = CrlWatch::default();
        loop {
            crls.look(&self.tls, SystemTime::now());
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                _ = hangup.recv() => true,
            };
            if asked {
                supervisor.reloading();
                (self.seen, self.due) = (Vec::new(), Due::ALL);
            }
            // Beside the runtime: these files may be on a share that does not answer, and then only this waits for it.
            let looked = tokio::task::spawn_blocking(move || {
                let result = self.look();
                (self, result)
            });
            let (this, result) = match looked.await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(%error, "TLS files are not read again until a restart");
                    return;
                }
            };
            self = this;
            if asked {
                supervisor.reloaded();
            }
            match result {
                None => {}
                Some(Ok(())) => {
                    metrics.tls_reloaded(true);
                    tracing::info!(certificate = %self.listener.certificate.display(), "TLS certificate, authorities and CRLs were read again");
                }
                Some(Err(errors)) => {
                    metrics.tls_reloaded(false);
                    for error in &errors {
                        tracing::error!(
                            error = error as &dyn std::error::Error,
                            "TLS certificate, authorities or CRLs changed and cannot be used; the old ones stay in force, and \
                             they are tried again every few seconds"
                        );
                    }
                }
            }
        }
    }

    /// Reads what was changed, and what could not be used before. `None`: nothing was changed, nor is anything in force that was
    /// not before. So what goes on to fail is said once for each change.
    pub(super) fn look(&mut self) -> Option<Result<(), Vec<TlsError>>> {
        let now = stamps(&self.listener);
        let changed = now != self.seen;
        if changed {
            self.seen = now;
            self.due = Due::ALL;
        }
        let due = self.due;
        if due == Due::NOTHING {
            return None;
        }
        let reloaded = self.reload();
        (changed || self.due != due).then_some(reloaded)
    }

    /// Reads what is due. Each half that can be used comes into force.
    fn reload(&mut self) -> Result<(), Vec<TlsError>> {
        let before = arc_swap::Guard::into_inner(self.tls.current());
        let (mut errors, due) = (Vec::new(), self.due);
        let mut pair = before.pair.clone();
        if due.pair {
            match Pair::load(&self.listener) {
                Ok(new) => (pair, self.due.pair) = (new, false),
                Err(error) => errors.push(error),
            }
        }
        let mut authorities = Arc::clone(&before.authorities);
        if due.authorities {
            match self.new_authorities(&before.authorities) {
                Ok(new) => (authorities, self.due.authorities) = (new, false),
                Err(error) => errors.push(error),
            }
        }
        if self.due != due {
            match Material::new(&self.listener, pair, authorities) {
                Ok(material) => self.tls.replace(material),
                Err(error) => {
                    self.due = due;
                    errors.push(error);
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn new_authorities(&mut self, before: &Authorities) -> Result<Arc<Authorities>, TlsError> {
        self.generation += 1;
        let authorities = load_authorities(&self.listener, self.generation)?;
        authorities.may_follow(before)?;
        Ok(authorities)
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

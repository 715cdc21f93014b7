//! An issuer that is trusted: its settings, its keys, and what is made of its tokens.

use crate::fetch::{FetchError, HttpsUrl, fetch};
use crate::jwks::{JwksError, KeySet};
use crate::token::{Times, Token};
use crate::{JwsAlgorithm, Refused};
use arc_swap::ArcSwapOption;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// Whose tokens are accepted, and which of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer: what its tokens' `iss` is, to the letter.
    pub issuer: String,
    /// For whom its tokens have to be: one of the values of `aud`, to the letter.
    pub audience: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// What its tokens may be signed by.
    pub algorithms: BTreeSet<JwsAlgorithm>,
    /// What `typ` has to be; `None`: it is not looked at.
    pub token_type: Option<String>,
    /// By how much its clock and ours may differ.
    pub leeway: Duration,
    /// The longest time for which a token may be issued, from `iat` to `exp`.
    pub max_lifetime: Duration,
    /// How often the keys are read again.
    pub refresh: Duration,
    /// However often a token names a key that is not there: the keys are read again no sooner than this after the last time.
    pub least_pause: Duration,
    /// How old the keys may become while they cannot be read again. Then no token is accepted.
    pub max_age: Duration,
}

/// Where an issuer's keys are, as JWKS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At an address.
    Url {
        /// The address: `jwks_uri` of the issuer's `/.well-known/openid-configuration`.
        url: HttpsUrl,
        /// PEM file of the authorities that may have issued the certificate of whoever answers there.
        ca: PathBuf,
    },
}

/// Why keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The file.
    #[error("{path} cannot be read; correct the file, its rights or its path")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The address.
    #[error("{url} cannot be fetched: {source}")]
    Fetch {
        /// The address.
        url: HttpsUrl,
        /// What went wrong.
        #[source]
        source: FetchError,
    },
    /// What is there.
    #[error("{place} cannot be used: {source}")]
    Jwks {
        /// File or address.
        place: String,
        /// What is wrong with it.
        #[source]
        source: JwksError,
    },
}

/// Whom a token named, how long it holds, and by which key it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Who issued it.
    pub issuer: String,
    /// Whom it names (`sub`).
    pub subject: String,
    /// Until when it holds, without leeway.
    pub expires: SystemTime,
    key_id: Option<String>,
    algorithm: JwsAlgorithm,
}

/// An issuer and its keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Issuer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    held: ArcSwapOption<Held>,
    /// A token named a key that is not there.
    wanted: Notify,
}

#[derive(Debug)]
struct Held {
    keys: KeySet,
    since: Instant,
}

impl Issuer {
    /// Without keys yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner { settings, held: ArcSwapOption::empty(), wanted: Notify::new() }))
    }

    /// What its tokens' `iss` is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.settings.issuer
    }

    /// How old the keys are, which tells for how long they could not be read again; `None`: there are none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.0.held.load().as_ref().map(|held| held.since.elapsed())
    }

    /// Reads the keys again; where that fails, the old ones stay, until they are too old. Answers how many there are.
    ///
    /// # Errors
    /// [`RefreshError`] says which file or address, and why.
    pub async fn refresh(&self) -> Result<usize, RefreshError> {
        let (bytes, place) = match &self.0.settings.keys {
            KeySource::File(path) => {
                let read = tokio::fs::read(path).await;
                let read = read.map_err(|source| RefreshError::File { path: path.clone(), source })?;
                (read, path.display().to_string())
            }
            KeySource::Url { url, ca } => {
                let fetched = fetch(url, ca).await;
                let fetched = fetched.map_err(|source| RefreshError::Fetch { url: url.clone(), source })?;
                (fetched, url.to_string())
            }
        };
        let keys = KeySet::read(&bytes).map_err(|source| RefreshError::Jwks { place, source })?;
        let count = keys.len();
        self.0.held.store(Some(Arc::new(Held { keys, since: Instant::now() })));
        Ok(count)
    }

    /// Keeps the keys fresh until dropped: reads them at once, again and again, and when a token names one that is not there.
    /// Says in the log when that begins to fail, and when it works again.
    pub async fn follow(self) {
        let Settings { issuer, refresh, least_pause, .. } = &self.0.settings;
        let mut failing = false;
        loop {
            let read = self.refresh().await;
            match &read {
                Ok(keys) if failing => tracing::info!(issuer, keys, "the issuer's keys can be read again"),
                Ok(keys) => tracing::debug!(issuer, keys, "the issuer's keys were read"),
                Err(error) if failing => {
                    tracing::debug!(
                        issuer,
                        error = error as &dyn std::error::Error,
                        "the issuer's keys still cannot be read"
                    );
                }
                Err(error) => tracing::warn!(
                    issuer,
                    error = error as &dyn std::error::Error,
                    "the issuer's keys cannot be read; those from before are used until they are too old"
                ),
            }
            failing = read.is_err();
            let next = Instant::now() + if failing { *least_pause } else { *refresh };
            // Whoever sends tokens does not decide how often somebody else is asked.
            sleep(*least_pause).await;
            tokio::select! {
                () = self.0.wanted.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    fn held(&self) -> Result<Arc<Held>, Refused> {
        let held = self.0.held.load_full().ok_or(Refused::KeysUnavailable)?;
        if held.since.elapsed() > self.0.settings.max_age { Err(Refused::KeysUnavailable) } else { Ok(held) }
    }

    fn verify(&self, token: &Token<'_>, now: SystemTime) -> Result<Proof, Refused> {
        let settings = &self.0.settings;
        if !settings.algorithms.contains(&token.algorithm) {
            return Err(Refused::Algorithm);
        }
        if settings.token_type.as_deref().is_some_and(|wanted| !token.is_of_type(wanted)) {
            return Err(Refused::Type);
        }
        let held = self.held()?;
        let key_id = token.key_id.as_deref();
        if !held.keys.knows(key_id, token.algorithm) {
            self.0.wanted.notify_one();
            return Err(Refused::UnknownKey);
        }
        if !held.keys.verify(key_id, token.algorithm, token.signed, &token.signature) {
            return Err(Refused::Signature);
        }
        // From here on it is its issuer who speaks.
        if !token.is_for(&settings.audience)? {
            return Err(Refused::Audience);
        }
        let subject = token.subject()?;
        let Times { issued_at, not_before, expires } = token.times()?;
        if now >= expires + settings.leeway {
            return Err(Refused::Expired);
        }
        if not_before.into_iter().chain([issued_at]).any(|from| now + settings.leeway < from) {
            return Err(Refused::NotYetValid);
        }
        match expires.duration_since(issued_at) {
            Ok(lifetime) if lifetime <= settings.max_lifetime => {}
            Ok(_) => return Err(Refused::Lifetime),
            Err(_) => return Err(Refused::Claims),
        }
        Ok(Proof {
            issuer: settings.issuer.clone(),
            subject: subject.to_owned(),
            expires,
            key_id: token.key_id.clone(),
            algorithm: token.algorithm,
        })
    }

    fn still(&self, proof: &Proof, now: SystemTime) -> Result<(), Refused> {
        if now >= proof.expires + self.0.settings.leeway {
            return Err(Refused::Expired);
        }
        if self.held()?.keys.knows(proof.key_id.as_deref(), proof.algorithm) {
            Ok(())
        } else {
            Err(Refused::UnknownKey)
        }
    }
}

/// The issuers whose tokens are accepted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Issuers(Arc<[Issuer]>);

impl FromIterator<Issuer> for Issuers {
    fn from_iter<T: IntoIterator<Item = Issuer>>(issuers: T) -> Self {
        Self(issuers.into_iter().collect())
    }
}

impl Issuers {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.0.iter()
    }

    /// Whom a token names, at `now`. The token alone decides nothing: neither the key nor the address of one is taken from it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Proof, Refused> {
        let token = Token::read(token)?;
        let name = token.issuer()?;
        let mut refused = Refused::Issuer;
        // One issuer may be configured more than once, for more than one audience.
        for issuer in self.0.iter().filter(|issuer| issuer.name() == name) {
            match issuer.verify(&token, now) {
                Ok(proof) => return Ok(proof),
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }

    /// Whether what was proved holds at `now`: the token has not expired, and its key is still its issuer's.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn still(&self, proof: &Proof, now: SystemTime) -> Result<(), Refused> {
        let mut refused = Refused::Issuer;
        for issuer in self.0.iter().filter(|issuer| issuer.name() == proof.issuer) {
            match issuer.still(proof, now) {
                Ok(()) => return Ok(()),
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }
}

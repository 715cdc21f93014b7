//! An issuer that is trusted: its settings, its keys, and what is made of its tokens.

use crate::fetch::{FetchError, fetch};
use crate::jwks::{JwksError, KeySet};
use crate::token::{Times, Token};
use crate::{JwsAlgorithm, Refused};
use arc_swap::ArcSwapOption;
use chancery_crypto::sha256;
use chancery_https::HttpsUrl;
use chancery_model::{Identity, OidcProof, Sha256Hash, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// Whose tokens are accepted, and which of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer: what its tokens' `iss` is, to the letter.
    pub issuer: String,
    /// For whom its tokens have to be: `aud` is, or has among its values, one of these, to the letter.
    pub audiences: BTreeSet<String>,
    /// Where its keys are.
    pub keys: KeySource,
    /// What its tokens may be signed by.
    pub algorithms: BTreeSet<JwsAlgorithm>,
    /// What `typ` has to be; `None`: it is not looked at.
    pub token_type: Option<String>,
    /// The claim that names whom the token is of: `sub`, unless the issuer promises another to be one's own for ever.
    pub subject_claim: String,
    /// What other claims have to be.
    pub required_claims: BTreeMap<String, RequiredClaim>,
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

/// What a claim has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequiredClaim {
    /// This text, or an array with it.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
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
        /// File with a bearer token to show there, where the keys are not for everybody.
        token: Option<PathBuf>,
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

/// What a token proved, and by which of its issuer's keys. Nothing of the token itself is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Whom it names, and until when.
    pub credential: OidcProof,
    issuer: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    key: Sha256Hash,
    algorithm: JwsAlgorithm,
}

/// How an issuer's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeysState {
    /// They were read when they were to be.
    Fresh,
    /// They cannot be read, and the last good ones are in use.
    Old,
    /// There are none, because they were never read or their issuer has taken them all back, or they are too old: no token is
    /// accepted.
    Missing,
}

impl KeysState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Old, Self::Missing];

    /// The name used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Old => "old",
            Self::Missing => "missing",
        }
    }
}

/// An issuer and its keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Issuer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    held: ArcSwapOption<Held>,
    /// Whether the keys could not be read the last time.
    failing: AtomicBool,
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
        let (held, failing, wanted) = (ArcSwapOption::empty(), AtomicBool::new(false), Notify::new());
        Self(Arc::new(Inner { settings, held, failing, wanted }))
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

    /// How they are.
    #[must_use]
    pub fn state(&self) -> KeysState {
        match self.held() {
            Err(_) => KeysState::Missing,
            Ok(held) if held.keys.len() == 0 => KeysState::Missing,
            Ok(_) if self.0.failing.load(Ordering::Relaxed) => KeysState::Old,
            Ok(_) => KeysState::Fresh,
        }
    }

    /// Reads the keys again; where that fails, the old ones stay, until they are too old. Answers how many there are: none, where
    /// their issuer takes back the only one, is an answer, too.
    ///
    /// # Errors
    /// [`RefreshError`] says which file or address, and why.
    pub async fn refresh(&self) -> Result<usize, RefreshError> {
        let read = self.read().await;
        self.0.failing.store(read.is_err(), Ordering::Relaxed);
        let keys = read?;
        let count = keys.len();
        self.0.held.store(Some(Arc::new(Held { keys, since: Instant::now() })));
        Ok(count)
    }

    async fn read(&self) -> Result<KeySet, RefreshError> {
        match &self.0.settings.keys {
            KeySource::File(path) => {
                let bytes = tokio::fs::read(path).await;
                in_file(path, bytes, KeySet::read)
            }
            KeySource::Url { url, ca, token } => {
                let fetched = fetch(url, ca, token.as_deref()).await;
                let fetched = fetched.map_err(|source| RefreshError::Fetch { url: url.clone(), source })?;
                KeySet::read(&fetched).map_err(|source| RefreshError::Jwks { place: url.to_string(), source })
            }
        }
    }

    /// Keeps the keys fresh until dropped: reads them at once, again and again, and when a token names one that is not there.
    /// Says in the log when that begins to fail, and when it works again.
    pub async fn follow(self) {
        let Settings { issuer, refresh, least_pause, .. } = &self.0.settings;
        let (mut failing, mut empty) = (false, false);
        loop {
            let read = self.refresh().await;
            match &read {
                Ok(0) if !empty => tracing::warn!(
                    issuer,
                    "the issuer's key set has no key of use, and none of its tokens is accepted until it has one"
                ),
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
            empty = read.as_ref().map_or(empty, |keys| *keys == 0);
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
        let signer = held.keys.signer(key_id, token.algorithm, token.signed, &token.signature);
        let key = signer.ok_or(Refused::Signature)?;
        // From here on it is its issuer who speaks.
        if !token.is_for(&settings.audiences)? {
            return Err(Refused::Audience);
        }
        let subject = token.subject(&settings.subject_claim)?;
        let identity = Identity::oidc(&settings.issuer, subject).or(Err(Refused::Claims))?;
        let hash = |text: &str| sha256(text.as_bytes());
        let token_id = token.id()?.map(hash);
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
        if settings.required_claims.iter().any(|(name, wanted)| !token.has(name, wanted)) {
            return Err(Refused::RequiredClaim);
        }
        let expires = Timestamp::from(expires + settings.leeway);
        Ok(Proof {
            credential: OidcProof { identity, expires, token_id, key_id: key_id.map(hash) },
            issuer: settings.issuer.clone(),
            key,
            algorithm: token.algorithm,
        })
    }

    fn still(&self, proof: &Proof, now: SystemTime) -> Result<(), Refused> {
        if Timestamp::from(now) >= proof.credential.expires {
            return Err(Refused::Expired);
        }
        if self.held()?.keys.holds(&proof.key, proof.algorithm) { Ok(()) } else { Err(Refused::UnknownKey) }
    }
}

/// How many keys of use a key set in a file has.
///
/// # Errors
/// [`RefreshError`] says what is wrong with the file.
pub fn check_key_file(path: &Path) -> Result<usize, RefreshError> {
    in_file(path, std::fs::read(path), KeySet::read_usable).map(|keys| keys.len())
}

fn in_file(
    path: &Path,
    read: io::Result<Vec<u8>>,
    parse: impl FnOnce(&[u8]) -> Result<KeySet, JwksError>,
) -> Result<KeySet, RefreshError> {
    let bytes = read.map_err(|source| RefreshError::File { path: path.to_owned(), source })?;
    parse(&bytes).map_err(|source| RefreshError::Jwks { place: path.display().to_string(), source })
}

/// The issuers whose tokens are accepted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Issuers(Arc<BTreeMap<String, Issuer>>);

impl FromIterator<Issuer> for Issuers {
    /// Of several of one name, the last one counts.
    fn from_iter<T: IntoIterator<Item = Issuer>>(issuers: T) -> Self {
        let by_name = issuers.into_iter().map(|issuer| (issuer.name().to_owned(), issuer));
        Self(Arc::new(by_name.collect()))
    }
}

impl Issuers {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.0.values()
    }

    /// What a token proves, at `now`. The token alone decides nothing: neither the key nor the address of one is taken from
    /// it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Proof, Refused> {
        let token = Token::read(token)?;
        self.0.get(token.issuer()?).ok_or(Refused::Issuer)?.verify(&token, now)
    }

    /// Whether what was proved holds at `now`: the token has not expired, and its key is still its issuer's.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn still(&self, proof: &Proof, now: SystemTime) -> Result<(), Refused> {
        self.0.get(&proof.issuer).ok_or(Refused::Issuer)?.still(proof, now)
    }
}

//! Examining a module and a token before they are trusted: what they offer, whether what they say holds, and how fast
//! they are.
//!
//! Each question is asked in a worker process. A module that crashes or hangs over one is found out by that, and the rest is
//! asked in another process. What is made in the token is known by one CKA_ID, [`OBJECT_ID`], and gone afterwards: after each
//! question, in the next process after a crash, and at the next examination where nothing else was left to do it.

mod driver;
mod recommend;

use crate::{Pin, TokenIdentity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use driver::examine;

/// CKA_ID of every object that an examination makes in a token: 16 bytes of text, which no key of ours has by chance.
pub(crate) const OBJECT_ID: [u8; 16] = *b"chancery-doctor.";

/// CKA_LABEL of the same objects.
pub(crate) const OBJECT_LABEL: &str = "chancery-doctor";

/// What is to be examined.
#[derive(Debug, Clone)]
pub struct Examine {
    /// The PKCS#11 shared library.
    pub module: PathBuf,
    /// Environment of the processes that load it.
    pub module_environment: BTreeMap<String, String>,
    /// Directory of locks and PIN latches, as in [`crate::TokenSettings::lock_dir`].
    pub lock_dir: PathBuf,
    /// Label of the token; without one only the module is examined.
    pub label: Option<String>,
    /// Serial number of the token, where the label alone does not tell it apart.
    pub serial: Option<String>,
    /// The user PIN; without one only what needs no login is examined.
    pub pin: Option<Pin>,
    /// What is asked. [`Check::Absence`] goes with whatever logs in, asked for or not.
    pub checks: Vec<Check>,
    /// Most sessions that are tried at once.
    pub most_sessions: usize,
    /// How long each rate is measured.
    pub measure: Duration,
    /// Without a sign of life for so long, the module is taken for hung.
    pub patience: Duration,
}

/// A group of questions; in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Whether the module can be loaded and serves several threads.
    Module,
    /// What the token says of itself: PIN, limits, clock, firmware, FIPS.
    Token,
    /// Which of our algorithms it offers, and why others are missing.
    Algorithms,
    /// Whether its signatures and MACs are right, and how it writes public keys.
    Signatures,
    /// Whether it honours parameters and refuses inputs that do not fit.
    Parameters,
    /// Whether a key that is not to leave the token cannot.
    Secrecy,
    /// Whether objects are found again, exactly one, and are gone when destroyed.
    Objects,
    /// How many sessions there are.
    Sessions,
    /// Whether signatures stay right when several threads sign at once.
    Threads,
    /// How fast it is with 1 to N sessions.
    Rates,
    /// Whether the examination has left anything behind.
    Absence,
}

impl Check {
    /// Every check, in the order in which they are made.
    pub const ALL: [Self; 11] = [
        Self::Module,
        Self::Token,
        Self::Algorithms,
        Self::Signatures,
        Self::Parameters,
        Self::Secrecy,
        Self::Objects,
        Self::Sessions,
        Self::Threads,
        Self::Rates,
        Self::Absence,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Token => "token",
            Self::Algorithms => "algorithms",
            Self::Signatures => "signatures",
            Self::Parameters => "parameters",
            Self::Secrecy => "secrecy",
            Self::Objects => "objects",
            Self::Sessions => "sessions",
            Self::Threads => "threads",
            Self::Rates => "rates",
            Self::Absence => "absence",
        }
    }

    /// What it needs.
    const fn needs(self) -> Needs {
        match self {
            Self::Module => Needs::Module,
            Self::Token | Self::Algorithms => Needs::Token,
            Self::Signatures
            | Self::Parameters
            | Self::Secrecy
            | Self::Objects
            | Self::Sessions
            | Self::Threads
            | Self::Rates
            | Self::Absence => Needs::Login,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    Module,
    Token,
    Login,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// To be looked into before production.
    Warning,
    /// Not to be used like this.
    Stops,
}

impl Level {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Stops => "stops",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// By which check.
    pub check: Check,
    /// What was found, in words.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
}

/// What the module says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleDescription {
    /// Who made it.
    pub manufacturer: String,
    /// What it is called.
    pub description: String,
    /// Its version.
    pub version: String,
    /// The version of PKCS#11 that it follows.
    pub cryptoki_version: String,
}

/// What the token says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDescription {
    /// Label, serial number, manufacturer, model.
    pub identity: TokenIdentity,
    /// `major.minor`.
    pub firmware_version: String,
    /// `major.minor`.
    pub hardware_version: String,
    /// Sessions that it says it allows; `None` where it sets no limit or tells none.
    pub sessions_max: Option<u64>,
}

/// One of our algorithms on this token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlgorithmOffer {
    /// Its name.
    pub algorithm: String,
    /// What the token lacks for it; `None` where it lacks nothing.
    pub missing: Option<String>,
    /// Whether a key was made to see; otherwise it is what the token lists.
    pub tried: bool,
}

/// How fast the token signs with so many sessions at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRate {
    /// The algorithm's name.
    pub algorithm: String,
    /// Sessions, each in a thread of its own.
    pub sessions: usize,
    /// Signatures in a second.
    pub per_second: u64,
}

/// What an examination has found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// The module, where it could be loaded.
    pub module: Option<ModuleDescription>,
    /// The token, where one was named and found.
    pub token: Option<TokenDescription>,
    /// Our algorithms; empty without a token.
    pub algorithms: Vec<AlgorithmOffer>,
    /// Measured rates.
    pub rates: Vec<SessionRate>,
    /// As many signing threads as make sense, from the rates.
    pub recommended_signing_threads: Option<usize>,
    /// Most sessions that were open at once; a trial stops at the number that was asked for.
    pub sessions_found: Option<u64>,
    /// What was found, in the order of the checks.
    pub findings: Vec<Finding>,
    /// Checks that were asked for and not made: for want of a token or a PIN, or because the examination was broken off.
    pub skipped: Vec<Check>,
}

impl Examination {
    /// The worst of its findings.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// What a worker tells while it examines.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Examined {
    /// A check begins.
    Begin(Check),
    /// A step begins; during a delicate one the worker must not be killed.
    Step {
        doing: String,
        delicate: bool,
    },
    Finding(Finding),
    Module(ModuleDescription),
    Token(TokenDescription),
    Algorithms(Vec<AlgorithmOffer>),
    SessionsFound(u64),
    Rate(SessionRate),
    /// Nothing that needs a login can be found out.
    NoLogin,
    /// Nothing that needs a token can be found out.
    NoToken,
    /// Nothing can be found out.
    NoModule,
    /// A check is over.
    End(Check),
}

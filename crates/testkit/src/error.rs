//! Why a test has no Chancery.

use std::fmt;
use std::io;
use std::path::PathBuf;

use chancery_client::ClientError;

/// Why a test has no Chancery. `Debug` reads like `Display`, since it is `unwrap` that shows it.
#[derive(thiserror::Error)]
pub enum Error {
    /// The binary is nowhere.
    #[error(
        "the program chancery is neither at {} nor on the PATH; install it (cargo install --path crates/cli in Chancery's \
         source tree), build it there (cargo build --bin chancery), or set CHANCERY_BIN to where it is",
        built.display()
    )]
    NoBinary {
        /// Where it would be if it had been built with the test.
        built: PathBuf,
    },
    /// The binary is not where the environment says.
    #[error("CHANCERY_BIN is {}, and no program is there", path.display())]
    NoSuchBinary {
        /// What `CHANCERY_BIN` says.
        path: PathBuf,
    },
    /// The PKCS#11 module is not there.
    #[error("{why}")]
    NoModule {
        /// What is missing, and what to do.
        why: String,
    },
    /// Something in the folder, or a process.
    #[error("cannot {doing}: {source}")]
    System {
        /// A verb and its object.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// The service ended, or did not come up in time.
    #[error("chancery {what}; it said:\n{log}")]
    Process {
        /// What happened.
        what: String,
        /// Its standard output and error.
        log: String,
    },
    /// The configuration, or what the service announced, cannot be read.
    #[error("{} is not understood: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A connection cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing: doing.into(), source }
    }
}

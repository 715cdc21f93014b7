//! Asking a witness.

use bytes::Bytes;
use chancery_audit::note::{NoteError, NoteSignature, SignedNote, VerifierKey};
use chancery_audit::witness::AddCheckpoint;
use chancery_https::{Bounds, Client, RequestError, Url};
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Request, StatusCode};
use std::path::PathBuf;
use std::time::Duration;

/// A witness that has not answered by then is asked again later. The answer is a few lines.
const BOUNDS: Bounds = Bounds { patience: Duration::from_secs(5), max_bytes: 64 * 1024 };

/// The type of the answer that says how far the witness is.
pub(crate) const SIZE_TYPE: &str = "text/x.tlog.size";

/// How much of what a witness says of itself is repeated.
const MOST_WORDS: usize = 200;

/// A witness somewhere.
#[derive(Debug)]
pub struct Witness {
    key: VerifierKey,
    path: String,
    client: Client,
}

/// What a witness answers to who asks it as it wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its cosignature, verified.
    Cosigned(NoteSignature),
    /// The newest checkpoint that it has cosigned has this size, not the one that was said.
    Conflict {
        /// The size.
        size: u64,
    },
}

/// Why a witness does not cosign.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It does not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What it has cosigned does not lead to this checkpoint.
    #[error("it has cosigned another log: the proof that this one continues it does not hold there ({0:?})")]
    Proof(String),
    /// It does not know the log, or its key.
    #[error("it does not know the log, or not the log's key (status {status}): {words:?}")]
    Unknown {
        /// The status.
        status: StatusCode,
        /// What it says.
        words: String,
    },
    /// Something else.
    #[error("it answered {status}: {words:?}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What it says.
        words: String,
    },
    /// A conflict without a size.
    #[error("it answered that it is at another size, and not at which")]
    NoSize,
    /// What it answered is no cosignature of its key.
    #[error("what it answered is no cosignature of its key: {0}")]
    Cosignature(#[from] NoteError),
}

impl Witness {
    /// The witness with this key, at `<url>/add-checkpoint`. `authorities` are those that may have issued its certificate.
    #[must_use]
    pub fn new(key: VerifierKey, url: Url, authorities: Option<PathBuf>) -> Self {
        let path = format!("{}/add-checkpoint", url.path().trim_end_matches('/'));
        Self { key, path, client: Client::new(url, authorities, BOUNDS) }
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where it is.
    #[must_use]
    pub const fn url(&self) -> &Url {
        self.client.url()
    }

    /// Asks for its cosignature.
    ///
    /// # Errors
    /// [`AskError`]: it does not cosign.
    pub async fn add_checkpoint(&self, asked: &AddCheckpoint) -> Result<Answer, AskError> {
        let request = Request::post(self.path.as_str())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Bytes::from(asked.to_string()))
            .map_err(|error| RequestError::Http(error.into()))?;
        let answer = self.client.send(request).await?;
        let words = || words(&answer.body);
        match answer.status {
            StatusCode::OK => self.cosignature(asked, &answer.body).map(Answer::Cosigned),
            StatusCode::CONFLICT => {
                let size = size(&answer.headers, &answer.body).ok_or(AskError::NoSize)?;
                Ok(Answer::Conflict { size })
            }
            StatusCode::UNPROCESSABLE_ENTITY => Err(AskError::Proof(words())),
            status @ (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
                Err(AskError::Unknown { status, words: words() })
            }
            status => Err(AskError::Status { status, words: words() }),
        }
    }

    /// One, its latest: a checkpoint has room for so many signatures, and a witness that answers with all of them would leave
    /// none to the others.
    fn cosignature(&self, asked: &AddCheckpoint, lines: &[u8]) -> Result<NoteSignature, AskError> {
        let mut note = SignedNote::unsigned(asked.checkpoint.note().text().to_owned())?;
        note.add_verified(lines, std::slice::from_ref(&self.key))?;
        let time = |signature: &&NoteSignature| signature.signature.first_chunk::<8>().copied();
        let latest = note.signatures().iter().max_by_key(time).cloned();
        latest.ok_or_else(|| NoteError::NotTrusted.into())
    }
}

fn size(headers: &HeaderMap, body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    let size: u64 = text.parse().ok().filter(|size: &u64| size.to_string() == text)?;
    (headers.get(CONTENT_TYPE)?.as_bytes() == SIZE_TYPE.as_bytes()).then_some(size)
}

/// The beginning of an answer, for who reads the log.
fn words(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim().chars().take(MOST_WORDS).collect()
}

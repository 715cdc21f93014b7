//! A key set over HTTPS: one request, bounded in size and time.

use chancery_https::{Answer, Bounds, Client, HttpsUrl, RequestError};
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION};
use http::{HeaderValue, Request, StatusCode};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The answer is larger than any key set, in bytes, or long in coming.
const BOUNDS: Bounds = Bounds { patience: Duration::from_secs(10), max_bytes: 256 * 1024 };

/// Why a key set cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The file with what is shown to whoever answers.
    #[error("{path} cannot be read, or holds no bearer token; correct the file, its rights or its path")]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system says, where it says anything.
        #[source]
        source: Option<io::Error>,
    },
    /// No answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Another answer than 200; a redirect is one.
    #[error("the answer is {0}, not 200 (redirects are not followed)")]
    Status(StatusCode),
}

/// Fetches what is at `url`, and shows who asks where there is a file with a bearer token of ours.
pub(crate) async fn fetch(url: &HttpsUrl, authorities: &Path, token: Option<&Path>) -> Result<Vec<u8>, FetchError> {
    let client = Client::new(url.clone().into(), Some(authorities.to_owned()), BOUNDS);
    let mut request = Request::get(client.url().path())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(CONNECTION, "close")
        .body(Default::default())
        .map_err(|error| RequestError::Http(error.into()))?;
    if let Some(token) = token {
        let path = token.to_owned();
        // Beside the runtime: the file may be on a share that does not answer.
        let read = tokio::task::spawn_blocking(move || authorization(&path)).await;
        let value = read.map_err(|error| RequestError::Connect(io::Error::other(error)))??;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    match client.send(request).await? {
        Answer { status: StatusCode::OK, body, .. } => Ok(body.into()),
        Answer { status, .. } => Err(FetchError::Status(status)),
    }
}

/// Read anew for each request, since such files are replaced.
fn authorization(path: &Path) -> Result<HeaderValue, FetchError> {
    let unusable = |source| FetchError::Token { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(Some(error)))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(unusable(None));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).or(Err(unusable(None)))?;
    value.set_sensitive(true);
    Ok(value)
}

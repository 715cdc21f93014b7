//! The transparency log, as C2SP tlog-tiles lays it out.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use tonic::body::Body;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::ServiceExt as _;

use crate::retry::Repeat;
use crate::{Client, ClientError, Connection};

/// The most that a resource can have: 256 entries of 65,535 bytes, and their lengths.
const LIMIT: usize = 256 * 65_537;

impl Client {
    /// A resource of the service's transparency log by its path below `/log/`: `checkpoint`, `tile/0/000`,
    /// `tile/entries/000.p/17`. Nothing of it is verified.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the reason `NOT_IN_LOG` where there is none such; others as of
    /// [`Client::sign`](crate::Client::sign).
    pub async fn log_resource(&self, path: &str) -> Result<Bytes, ClientError> {
        self.call(Repeat::Safe, path.to_owned(), get).await
    }
}

async fn get(connection: Connection, request: Request<String>) -> Result<Response<Bytes>, Status> {
    let (metadata, _extensions, path) = request.into_parts();
    let mut get = http::Request::get(format!("/log/{path}"))
        .body(Body::empty())
        .map_err(|error| Status::invalid_argument(format!("{path:?} is no path: {error}")))?;
    *get.headers_mut() = metadata.into_headers();
    let answer = connection.oneshot(get).await.map_err(|error| Status::from_error(Box::new(error)))?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, LIMIT).collect().await.map_err(Status::from_error)?.to_bytes();
    if parts.status == http::StatusCode::OK { Ok(Response::new(body)) } else { Err(refusal(parts.status, &body)) }
}

/// RFC 9457, as the service writes it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    reason: String,
}

fn refusal(status: http::StatusCode, body: &[u8]) -> Status {
    let code = match status.as_u16() {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        429 => Code::ResourceExhausted,
        502 | 503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Unknown,
    };
    let Ok(Problem { detail, reason }) = serde_json::from_slice(body) else {
        return Status::new(code, format!("answered {status}, and not by Chancery"));
    };
    Status::with_error_details(code, detail, ErrorDetails::with_error_info(reason, "chancery", []))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_reason_and_its_words() {
        let problem = br#"{"type":"about:blank","status":404,"detail":"not there","reason":"NOT_IN_LOG"}"#;
        let error = ClientError::from(refusal(http::StatusCode::NOT_FOUND, problem));
        assert_eq!((error.code(), error.reason()), (Some(Code::NotFound), Some("NOT_IN_LOG")));
        assert!(error.to_string().starts_with("not there"), "{error}");
        let proxy = ClientError::from(refusal(http::StatusCode::BAD_GATEWAY, b"<html>"));
        assert_eq!((proxy.code(), proxy.reason()), (Some(Code::Unavailable), None));
    }
}

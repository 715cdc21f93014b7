//! Refusals as HTTP says them: a status code and a problem (RFC 9457) in JSON.

use chancery_core::LogResource;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use std::borrow::Cow;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// Stable, upper case, for programs; the same words as in gRPC's `ErrorInfo`.
    reason: Cow<'static, str>,
    /// What happened and what to do next; for people.
    detail: String,
    headers: Vec<(HeaderName, &'static str)>,
}

impl Problem {
    fn new(status: StatusCode, reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), detail: detail.into(), headers: Vec::new() }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A parameter that is not as it must be.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_FIELD", detail)
    }

    pub(super) fn not_found() -> Self {
        let detail = format!(
            "there are {jwks}, {log}checkpoint, {log}tile/L/N[.p/W] and {log}tile/entries/N[.p/W] here, and nothing else but \
             gRPC; N is in groups of three digits, all but the last with an x: 000, x001/234; W is from 1 to 255",
            jwks = super::JWKS_PATH,
            log = super::LOG_PREFIX
        );
        Self::new(StatusCode::NOT_FOUND, "PATH_NOT_FOUND", detail)
    }

    /// To somebody who may read the log.
    pub(super) fn not_in_log(resource: LogResource) -> Self {
        let detail = format!("the log has no {resource} up to its newest checkpoint, /log/checkpoint");
        Self::new(StatusCode::NOT_FOUND, "NOT_IN_LOG", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "key sets and the log are read, with GET or HEAD";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail).with(ALLOW, "GET, HEAD")
    }

    pub(super) fn grpc_needs_http2() -> Self {
        let detail = "gRPC needs HTTP/2: connect with h2 among the protocols of ALPN, and without a proxy that speaks \
                      HTTP/1.1 to this service";
        Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP2_REQUIRED", detail)
    }

    /// What the gates and the core say, who speak gRPC.
    pub(super) fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map_or(Cow::Borrowed("INTERNAL"), |info| info.reason.clone().into());
        let code = match status_code(status.code()) {
            // Of one caller it is his affair (429), of all together ours.
            StatusCode::TOO_MANY_REQUESTS if reason == "OVERLOADED" => StatusCode::SERVICE_UNAVAILABLE,
            code => code,
        };
        let mut problem = Self::new(code, reason, status.message());
        if details.retry_info().is_some() {
            // Whole seconds are the least that there is.
            problem = problem.with(RETRY_AFTER, "1");
        }
        if code == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 11.6.1, wants a challenge, and no registered scheme means a client certificate.
            problem = problem.with(WWW_AUTHENTICATE, "ClientCertificate");
        }
        problem
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let Self { status, reason, detail, headers } = self;
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": detail,
            "reason": reason,
        });
        let mut response = Response::new(Body::new(Full::new(Bytes::from(problem.to_string()))));
        *response.status_mut() = status;
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// As `google/rpc/code.proto` maps them.
const fn status_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        // Of a call that was cancelled nobody reads the answer.
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors;
    use chancery_core::Error;
    use http_body_util::BodyExt as _;

    async fn body(response: Response<Body>) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_reason_and_its_words() {
        let denied = Error::AccessDenied {
            action: chancery_model::Action::GetPublicKey,
            resource: "keyRings/r/keys/k".to_owned(),
        };
        let response = Problem::from_status(&errors::status(&denied)).into_response();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let problem = body(response).await;
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"], "Forbidden");
        assert_eq!(problem["status"], 403);
        assert_eq!(problem["reason"], "ACCESS_DENIED");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("GetPublicKey on keyRings/r/keys/k is not allowed"), "{detail}");
    }

    #[test]
    fn too_much_of_one_caller_is_429_and_too_much_of_all_503_and_both_say_when() {
        let caller = chancery_model::Id::parse("the caller id", "checkout").unwrap();
        for (status, expected) in
            [(errors::caller_limit(&caller, 1).into_status(), 429), (errors::status(&Error::Overloaded), 503)]
        {
            let response = Problem::from_status(&status).into_response();
            assert_eq!(response.status().as_u16(), expected);
            assert_eq!(response.headers()[RETRY_AFTER], "1");
        }
    }

    #[test]
    fn who_is_nobody_is_told_to_show_a_certificate() {
        let status = errors::unauthenticated(&crate::identity::Unidentified::NoCertificate);
        let response = Problem::from_status(&status).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    }

    #[test]
    fn a_status_without_details_is_no_surprise() {
        let problem = Problem::from_status(&Status::internal("x"));
        assert_eq!((problem.status.as_u16(), problem.reason.as_ref()), (500, "INTERNAL"));
    }
}

//! An error that the service answered.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use chancery_api::v1;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An error that the service answered: `google.rpc.Status`, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// For a person.
    pub message: String,
    /// The stable upper-case reason of `google.rpc.ErrorInfo`, for a program; absent where a proxy answered.
    pub reason: Option<String>,
    /// The metadata of `google.rpc.ErrorInfo`.
    pub metadata: BTreeMap<String, String>,
    /// What is wrong with which field of the request (`google.rpc.BadRequest`).
    pub violations: Vec<FieldViolation>,
    /// When a retry can help: how long to wait before it (`google.rpc.RetryInfo`).
    pub retry_after: Option<Duration>,
}

/// What is wrong with a field of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path, as in the proto, for example `input.digest`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl fmt::Display for Refusal {
    /// The message, then what the details add to it, a line each; violations and metadata that the message says already are
    /// left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() { self.code.description() } else { &self.message };
        f.write_str(message)?;
        match &self.reason {
            Some(reason) => write!(f, " [{:?}, {reason}]", self.code)?,
            None => write!(f, " [{:?}]", self.code)?,
        }
        let violations =
            self.violations.iter().map(|FieldViolation { field, description }| format!("{field}: {description}"));
        for violation in violations.filter(|violation| !message.contains(violation.as_str())) {
            write!(f, "\n  {violation}")?;
        }
        let unsaid = self.metadata.iter().filter(|(_, value)| !message.contains(value.as_str()));
        for (name, value) in unsaid {
            write!(f, "\n  {name} = {value}")?;
        }
        if let Some(delay) = self.retry_after {
            write!(f, "\n  try again in {delay:?}")?;
        }
        Ok(())
    }
}

impl Error for Refusal {}

/// What kind of answer an error is, by its code: what a program decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The caller may not, or there is no such resource: which of both is not told.
    Denied,
    /// The service does not know the caller.
    Unauthenticated,
    /// Fields of the request are wrong: see [`Refusal::violations`].
    InvalidField,
    /// There is no such resource.
    NotFound,
    /// There is such a resource already.
    AlreadyExists,
    /// The resource's state does not allow it, for example that of a suspended version.
    WrongState,
    /// Somebody changed the resource meanwhile, or it is not known whether the change was made: read it again.
    Conflict,
    /// A limit is reached.
    Overloaded,
    /// The service, its record or its token is not there now.
    Unavailable,
    /// The service stopped because time was out. What was asked for may have happened.
    DeadlineExceeded,
    /// The service is too old, or a proxy is in between: it does not know the method.
    Unsupported,
    /// The service failed.
    Failed,
}

impl Refusal {
    /// What kind of answer it is. No catch-all: each code has been decided on.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        match self.code {
            Code::PermissionDenied => RefusalKind::Denied,
            Code::Unauthenticated => RefusalKind::Unauthenticated,
            Code::InvalidArgument | Code::OutOfRange => RefusalKind::InvalidField,
            Code::NotFound => RefusalKind::NotFound,
            Code::AlreadyExists => RefusalKind::AlreadyExists,
            Code::FailedPrecondition => RefusalKind::WrongState,
            Code::Aborted => RefusalKind::Conflict,
            Code::ResourceExhausted => RefusalKind::Overloaded,
            Code::Unavailable => RefusalKind::Unavailable,
            Code::DeadlineExceeded | Code::Cancelled => RefusalKind::DeadlineExceeded,
            Code::Unimplemented => RefusalKind::Unsupported,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => RefusalKind::Failed,
        }
    }

    /// The resource that it is about, where the service names one.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.metadata.get("resource").map(String::as_str)
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = match details.error_info() {
            Some(info) => (Some(info.reason.clone()), info.metadata.clone().into_iter().collect()),
            None => (None, BTreeMap::new()),
        };
        let violations = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason,
            metadata,
            violations: violations
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

impl From<v1::ItemStatus> for Refusal {
    /// The status of one item of a batch or a stream.
    fn from(status: v1::ItemStatus) -> Self {
        // It is google.rpc.Status on the wire, which is what the details of a gRPC status are.
        let details = status.encode_to_vec();
        let v1::ItemStatus { code, message, details: _ } = status;
        Self::from(Status::with_details(Code::from(code), message, details.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientError;
    use tonic_types::ErrorDetails;

    #[test]
    fn the_details_of_a_refusal_are_unpacked() {
        let mut details = ErrorDetails::with_bad_request_violation("input.digest", "must have 32 bytes");
        details.set_error_info(
            "INVALID_FIELD",
            "chancery",
            [("limit".to_owned(), "32".to_owned()), ("what".to_owned(), "request".to_owned())],
        );
        details.set_retry_info(Some(Duration::from_millis(250)));
        let status = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
        let ClientError::Refused(refusal) = ClientError::from(status) else { panic!("an answer") };
        assert_eq!(refusal.reason.as_deref(), Some("INVALID_FIELD"));
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(
            refusal.to_string(),
            "the request is not valid [InvalidArgument, INVALID_FIELD]\n  input.digest: must have 32 bytes\n  \
             limit = 32\n  try again in 250ms"
        );
    }

    #[test]
    fn a_violation_that_the_message_says_is_not_said_again() {
        let mut details = ErrorDetails::with_bad_request_violation("claims", "iss must be a string");
        details.add_bad_request_violation("lifetime", "is given twice");
        let status = Status::with_error_details(Code::InvalidArgument, "claims: iss must be a string", details);
        let error = ClientError::from(status);
        assert_eq!(error.to_string(), "claims: iss must be a string [InvalidArgument]\n  lifetime: is given twice");
    }

    #[test]
    fn a_refusal_without_details_still_says_its_code() {
        let error = ClientError::from(Status::permission_denied("no"));
        assert_eq!(error.to_string(), "no [PermissionDenied]");
        assert_eq!((error.code(), error.reason()), (Some(Code::PermissionDenied), None));
    }

    #[test]
    fn an_item_of_a_batch_is_unpacked_like_a_whole_answer() {
        let mut details = ErrorDetails::with_error_info(
            "ACCESS_DENIED",
            "chancery",
            [("resource".to_owned(), "keyRings/dev/keys/k".to_owned())],
        );
        details.set_retry_info(Some(Duration::from_secs(1)));
        let status = Status::with_error_details(Code::PermissionDenied, "no", details);
        let item = v1::ItemStatus::decode(status.details()).unwrap();
        assert_eq!(item.code, 7);
        let refusal = Refusal::from(item);
        assert_eq!(refusal, Refusal::from(status));
        assert_eq!((refusal.kind(), refusal.resource()), (RefusalKind::Denied, Some("keyRings/dev/keys/k")));
    }
}

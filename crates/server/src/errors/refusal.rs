//! What a caller is told, and how it is written as `google.rpc.Status`.

use chancery_api::v1::ItemStatus;
use prost::Message as _;
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of all our reasons.
const DOMAIN: &str = "chancery";

/// How long to wait before a retry where nothing better is known. Long enough for a worker to be replaced.
const SOON: Duration = Duration::from_millis(100);

/// What a caller is told of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// Stable, upper case, for programs.
    pub(crate) reason: Cow<'static, str>,
    /// What happened, to which resource, and what to do next; for people.
    pub(crate) message: String,
    metadata: Vec<(&'static str, String)>,
    /// Fields that are not as they must be, with why.
    violations: Vec<(String, String)>,
    retry: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(code: Code, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.into(), message.into());
        Self { code, reason, message, metadata: Vec::new(), violations: Vec::new(), retry: None }
    }

    /// Adds a fact for programs.
    pub(super) fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Adds a field that is not as it must be.
    pub(super) fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push((field.into(), description.into()));
        self
    }

    /// Says when a retry may help.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry = Some(wait);
        self
    }

    /// Says that a retry may help.
    pub(super) fn retry_soon(mut self) -> Self {
        self.retry = Some(SOON);
        self
    }

    /// As a gRPC status with its details.
    pub(crate) fn into_status(self) -> Status {
        let Self { code, reason, message, metadata, violations, retry } = self;
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
        for (field, description) in violations {
            details.add_bad_request_violation(field, description);
        }
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Status::with_error_details(code, message, details)
    }

    /// As the status of one item of a batch.
    pub(crate) fn into_item_status(self) -> ItemStatus {
        let code = i32::from(self.code);
        let message = self.message.clone();
        // The details of a gRPC status are an encoded google.rpc.Status, and ItemStatus is that on the wire.
        match ItemStatus::decode(self.into_status().details()) {
            Ok(status) => status,
            Err(_not_what_we_encoded) => ItemStatus { code, message, details: Vec::new() },
        }
    }
}

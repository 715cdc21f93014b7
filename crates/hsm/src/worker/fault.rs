//! A failure inside the worker, with what the table of return codes says about it.

use crate::return_codes::{self, Cure};
use crate::wire::WireFailure;
use crate::{HealthCause, HsmErrorKind};
use cryptoki::context::Function;
use cryptoki::error::Error;
use std::fmt::Display;

/// A failed step.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: HsmErrorKind,
    pub(super) cure: Cure,
    pub(super) message: String,
    pub(super) function: String,
    pub(super) return_code: Option<u64>,
    /// The same signature may be asked for once more.
    pub(super) retry: bool,
    /// Only a new worker can mend it.
    pub(super) replace: bool,
    /// The lane has no session and got none: the token was not asked.
    pub(super) no_session: bool,
    /// What it says of the token, where that is closer than the kind.
    pub(super) cause: Option<HealthCause>,
}

impl Fault {
    /// A failure that no PKCS#11 function reported.
    pub(super) fn new(kind: HsmErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            cure: Cure::Nothing,
            message: message.into(),
            function: String::new(),
            return_code: None,
            retry: false,
            replace: false,
            no_session: false,
            cause: None,
        }
    }

    /// What a PKCS#11 function (or the library around it) reported, while doing `what`.
    pub(super) fn pkcs11(what: impl Display, error: &Error) -> Self {
        match error {
            Error::Pkcs11(code, function) => {
                let meaning = return_codes::meaning(*code);
                Self {
                    kind: meaning.kind,
                    cure: meaning.cure,
                    message: format!("{what}: {}", return_codes::name(*code)),
                    function: c_name(*function),
                    return_code: return_codes::code(*code),
                    retry: meaning.retry,
                    replace: meaning.cure == Cure::Replace,
                    no_session: false,
                    cause: None,
                }
            }
            Error::LibraryLoading(_) | Error::MissingSymbol(_) | Error::NullFunctionPointer => {
                Self::new(HsmErrorKind::Module, format!("{what}: {error}"))
            }
            Error::NotSupported
            | Error::TryFromInt(_)
            | Error::TryFromSlice(_)
            | Error::ParseInt(_)
            | Error::Utf8(_)
            | Error::NulError(_)
            | Error::InvalidValue
            | Error::PinNotSet => Self::new(HsmErrorKind::Bug, format!("{what}: {error}")),
        }
    }

    /// The same failure, known by now to be of another kind.
    pub(super) fn reclassified(self, found: Self) -> Self {
        Self {
            kind: found.kind,
            cure: found.cure,
            message: format!("{}; {}", self.message, found.message),
            function: self.function,
            return_code: self.return_code,
            retry: found.retry,
            replace: found.replace,
            no_session: false,
            cause: found.cause,
        }
    }

    /// The same, from a step that concerns the token and neither a key nor an input: a return code that speaks of one there
    /// is a vendor's mistake, and nobody is to be told that his key is gone.
    pub(super) fn of_the_token(self) -> Self {
        match self.kind {
            HsmErrorKind::KeyNotFound
            | HsmErrorKind::KeyAmbiguous
            | HsmErrorKind::InputLength
            | HsmErrorKind::WrongSignature => {
                Self { kind: HsmErrorKind::Module, cure: Cure::FreshSessionThenReplace, retry: true, ..self }
            }
            _ => self,
        }
    }

    /// Asks for a new worker.
    pub(super) fn replacing(self) -> Self {
        Self { replace: true, ..self }
    }

    /// Says what it means for the token.
    pub(super) fn because(self, cause: HealthCause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// Allows one more attempt.
    pub(super) fn retrying(self) -> Self {
        Self { retry: true, ..self }
    }
}

impl From<Fault> for WireFailure {
    fn from(fault: Fault) -> Self {
        let Fault { kind, cure: _, message, function, return_code, retry, replace, no_session, cause } = fault;
        Self { kind, function, return_code, message, retry, replace, no_session, cause }
    }
}

/// The standard's name of a function, for example `C_Sign`.
fn c_name(function: Function) -> String {
    format!("C_{function:?}")
}

//! The one table of PKCS#11 return codes: what each means, what the worker does about it, and whether the same
//! signature may be asked for once more. (Names and values: PKCS#11 v3.1, section 3.6.)
//!
//! A worker never repeats a call by itself. It cures what can be cured and says whether a retry makes sense; the
//! service decides, within the caller's deadline, and counts.

use crate::HsmErrorKind;
use HsmErrorKind as Kind;
use cryptoki::error::RvError;

/// What the worker does after a return code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cure {
    /// Nothing is broken, or nothing can be mended from here.
    Nothing,
    /// Not an error where it appears.
    Benign,
    /// Drop the session and open another. Where that fails too, the worker asks to be replaced.
    NewSession,
    /// Find the key again by its CKA_ID, and require exactly one.
    FindAgain,
    /// Log in again, one thread for all.
    Login,
    /// Note on disk that the PIN was refused, and never log in again.
    Latch,
    /// The module has lost its footing: ask to be replaced by a new worker, which initialises it anew.
    Replace,
    /// As `NewSession`; the second in a row in a lane asks for a new worker.
    FreshSessionThenReplace,
}

/// What a return code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// The kind of failure that a caller of this crate sees.
    pub(crate) kind: HsmErrorKind,
    /// What the worker does.
    pub(crate) cure: Cure,
    /// Whether the same signature may be asked for once more after the cure.
    pub(crate) retry: bool,
}

struct Row {
    error: RvError,
    code: u64,
    name: &'static str,
    meaning: Meaning,
}

const fn row(error: RvError, code: u64, name: &'static str, kind: Kind, cure: Cure, retry: bool) -> Row {
    Row { error, code, name, meaning: Meaning { kind, cure, retry } }
}

/// A code that is not in the table: the vendor's own, or one of a later standard. Nobody knows what the token did.
const UNKNOWN: Meaning = Meaning { kind: Kind::OutcomeUnknown, cure: Cure::FreshSessionThenReplace, retry: true };

#[rustfmt::skip]
static TABLE: &[Row] = &[
    // A session that died; the key's handle may have died with it.
    row(RvError::SessionHandleInvalid, 0xB3, "CKR_SESSION_HANDLE_INVALID", Kind::Session, Cure::NewSession, true),
    row(RvError::SessionClosed, 0xB0, "CKR_SESSION_CLOSED", Kind::Session, Cure::NewSession, true),
    // A stale handle, a destroyed key, or a lost login: looked into, see `Held::locate`.
    row(RvError::ObjectHandleInvalid, 0x82, "CKR_OBJECT_HANDLE_INVALID", Kind::KeyNotFound, Cure::FindAgain, false),
    row(RvError::KeyHandleInvalid, 0x60, "CKR_KEY_HANDLE_INVALID", Kind::KeyNotFound, Cure::FindAgain, false),
    row(RvError::UserNotLoggedIn, 0x101, "CKR_USER_NOT_LOGGED_IN", Kind::LoginLost, Cure::Login, true),
    row(RvError::UserAlreadyLoggedIn, 0x100, "CKR_USER_ALREADY_LOGGED_IN", Kind::Bug, Cure::Benign, false),
    // Each further attempt can lock the token for good.
    row(RvError::PinIncorrect, 0xA0, "CKR_PIN_INCORRECT", Kind::PinLatched, Cure::Latch, false),
    row(RvError::PinInvalid, 0xA1, "CKR_PIN_INVALID", Kind::PinLatched, Cure::Latch, false),
    row(RvError::PinLenRange, 0xA2, "CKR_PIN_LEN_RANGE", Kind::PinLatched, Cure::Latch, false),
    row(RvError::PinExpired, 0xA3, "CKR_PIN_EXPIRED", Kind::PinLatched, Cure::Latch, false),
    row(RvError::PinLocked, 0xA4, "CKR_PIN_LOCKED", Kind::PinLatched, Cure::Latch, false),
    // The worker starts with as many lanes as it gets sessions; later on the call may be repeated.
    row(RvError::SessionCount, 0xB1, "CKR_SESSION_COUNT", Kind::Capacity, Cure::Nothing, false),
    // A mistake of ours about the session's state: a session without that history serves.
    row(RvError::OperationActive, 0x90, "CKR_OPERATION_ACTIVE", Kind::Bug, Cure::NewSession, true),
    row(RvError::OperationNotInitialized, 0x91, "CKR_OPERATION_NOT_INITIALIZED", Kind::Bug, Cure::NewSession, true),
    // The token does not say what it did.
    row(RvError::DeviceError, 0x30, "CKR_DEVICE_ERROR", Kind::OutcomeUnknown, Cure::FreshSessionThenReplace, true),
    row(RvError::GeneralError, 0x05, "CKR_GENERAL_ERROR", Kind::OutcomeUnknown, Cure::FreshSessionThenReplace, true),
    row(RvError::FunctionFailed, 0x06, "CKR_FUNCTION_FAILED", Kind::OutcomeUnknown, Cure::FreshSessionThenReplace, true),
    row(RvError::FunctionCanceled, 0x50, "CKR_FUNCTION_CANCELED", Kind::OutcomeUnknown, Cure::FreshSessionThenReplace, true),
    // A new worker looks for the token with back-off and takes only one with the right serial.
    row(RvError::DeviceRemoved, 0x32, "CKR_DEVICE_REMOVED", Kind::TokenAbsent, Cure::Replace, false),
    row(RvError::TokenNotPresent, 0xE0, "CKR_TOKEN_NOT_PRESENT", Kind::TokenAbsent, Cure::Replace, false),
    row(RvError::TokenNotRecognized, 0xE1, "CKR_TOKEN_NOT_RECOGNIZED", Kind::TokenAbsent, Cure::Replace, false),
    row(RvError::SlotIdInvalid, 0x03, "CKR_SLOT_ID_INVALID", Kind::TokenAbsent, Cure::Replace, false),
    row(RvError::CryptokiNotInitialized, 0x190, "CKR_CRYPTOKI_NOT_INITIALIZED", Kind::Module, Cure::Replace, true),
    row(RvError::LibraryLoadFailed, 0x1B7, "CKR_LIBRARY_LOAD_FAILED", Kind::Module, Cure::Nothing, false),
    row(RvError::CantLock, 0x0A, "CKR_CANT_LOCK", Kind::Module, Cure::Nothing, false),
    row(RvError::NeedToCreateThreads, 0x09, "CKR_NEED_TO_CREATE_THREADS", Kind::Module, Cure::Nothing, false),
    row(RvError::DeviceMemory, 0x31, "CKR_DEVICE_MEMORY", Kind::Memory, Cure::Replace, false),
    row(RvError::HostMemory, 0x02, "CKR_HOST_MEMORY", Kind::Memory, Cure::Replace, false),
    // No retry makes a token do what it cannot.
    row(RvError::MechanismInvalid, 0x70, "CKR_MECHANISM_INVALID", Kind::Configuration, Cure::Nothing, false),
    row(RvError::MechanismParamInvalid, 0x71, "CKR_MECHANISM_PARAM_INVALID", Kind::Configuration, Cure::Nothing, false),
    row(RvError::KeyTypeInconsistent, 0x63, "CKR_KEY_TYPE_INCONSISTENT", Kind::Configuration, Cure::Nothing, false),
    row(RvError::KeyFunctionNotPermitted, 0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::KeySizeRange, 0x62, "CKR_KEY_SIZE_RANGE", Kind::Configuration, Cure::Nothing, false),
    row(RvError::CurveNotSupported, 0x140, "CKR_CURVE_NOT_SUPPORTED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::DomainParamsInvalid, 0x130, "CKR_DOMAIN_PARAMS_INVALID", Kind::Configuration, Cure::Nothing, false),
    // PKCS#11 v3.2, which the library has no name for yet.
    row(RvError::UnknownErrorCode(0x209), 0x209, "CKR_PARAMETER_SET_NOT_SUPPORTED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::RandomNoRng, 0x121, "CKR_RANDOM_NO_RNG", Kind::Configuration, Cure::Nothing, false),
    row(RvError::FunctionNotSupported, 0x54, "CKR_FUNCTION_NOT_SUPPORTED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::FunctionRejected, 0x200, "CKR_FUNCTION_REJECTED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::ActionProhibited, 0x1B, "CKR_ACTION_PROHIBITED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::TokenWriteProtected, 0xE2, "CKR_TOKEN_WRITE_PROTECTED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::UserPinNotInitialized, 0x102, "CKR_USER_PIN_NOT_INITIALIZED", Kind::Configuration, Cure::Nothing, false),
    row(RvError::UserTypeInvalid, 0x103, "CKR_USER_TYPE_INVALID", Kind::Configuration, Cure::Nothing, false),
    row(RvError::UserAnotherAlreadyLoggedIn, 0x104, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN", Kind::Configuration, Cure::Nothing, false),
    // Lengths are checked before the token is asked: not every token checks them.
    row(RvError::DataLenRange, 0x21, "CKR_DATA_LEN_RANGE", Kind::InputLength, Cure::Nothing, false),
    row(RvError::DataInvalid, 0x20, "CKR_DATA_INVALID", Kind::InputLength, Cure::Nothing, false),
    // A result of C_Verify, not a failure.
    row(RvError::SignatureInvalid, 0xC0, "CKR_SIGNATURE_INVALID", Kind::WrongSignature, Cure::Benign, false),
    row(RvError::SignatureLenRange, 0xC1, "CKR_SIGNATURE_LEN_RANGE", Kind::WrongSignature, Cure::Benign, false),
    // Our template, or what the vendor makes of it.
    row(RvError::TemplateIncomplete, 0xD0, "CKR_TEMPLATE_INCOMPLETE", Kind::Bug, Cure::Nothing, false),
    row(RvError::TemplateInconsistent, 0xD1, "CKR_TEMPLATE_INCONSISTENT", Kind::Bug, Cure::Nothing, false),
    row(RvError::AttributeReadOnly, 0x10, "CKR_ATTRIBUTE_READ_ONLY", Kind::Bug, Cure::Nothing, false),
    row(RvError::AttributeSensitive, 0x11, "CKR_ATTRIBUTE_SENSITIVE", Kind::Bug, Cure::Nothing, false),
    row(RvError::AttributeTypeInvalid, 0x12, "CKR_ATTRIBUTE_TYPE_INVALID", Kind::Bug, Cure::Nothing, false),
    row(RvError::AttributeValueInvalid, 0x13, "CKR_ATTRIBUTE_VALUE_INVALID", Kind::Bug, Cure::Nothing, false),
    row(RvError::ArgumentsBad, 0x07, "CKR_ARGUMENTS_BAD", Kind::Bug, Cure::Nothing, false),
    row(RvError::BufferTooSmall, 0x150, "CKR_BUFFER_TOO_SMALL", Kind::Bug, Cure::NewSession, false),
    row(RvError::SessionReadOnly, 0xB5, "CKR_SESSION_READ_ONLY", Kind::Bug, Cure::Nothing, false),
];

fn find(error: RvError) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.error == error)
}

/// What a return code means.
pub(crate) fn meaning(error: RvError) -> Meaning {
    find(error).map_or(UNKNOWN, |row| row.meaning)
}

/// The number of a return code, where it is known.
pub(crate) fn code(error: RvError) -> Option<u64> {
    match error {
        RvError::VendorDefined(code) | RvError::UnknownErrorCode(code) => Some(code),
        _ => find(error).map(|row| row.code),
    }
}

/// The name of a return code, for messages.
pub(crate) fn name(error: RvError) -> String {
    match find(error) {
        Some(row) => row.name.to_owned(),
        None => format!("{error:?}"),
    }
}

/// The name of a return code, for the record: `CKR_DEVICE_ERROR`, or `0x80001234` for one that has none here.
#[must_use]
pub fn return_code_name(code: u64) -> String {
    TABLE.iter().find(|row| row.code == code).map_or_else(|| format!("{code:#010x}"), |row| row.name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_code_and_no_name_appears_twice() {
        assert_eq!(TABLE.iter().map(|row| row.code).collect::<HashSet<_>>().len(), TABLE.len());
        assert_eq!(TABLE.iter().map(|row| row.name).collect::<HashSet<_>>().len(), TABLE.len());
    }

    #[test]
    fn the_codes_are_those_of_the_standard_as_the_library_reads_them() {
        for row in TABLE {
            let read = cryptoki::error::Rv::from(row.code);
            assert_eq!(read, cryptoki::error::Rv::Error(row.error), "{}", row.name);
        }
    }

    #[test]
    fn a_vendor_code_has_an_unknown_outcome_and_keeps_its_number() {
        let vendor = RvError::VendorDefined(0x8000_1234);
        assert_eq!(meaning(vendor), UNKNOWN);
        assert_eq!(code(vendor), Some(0x8000_1234));
        assert_eq!(return_code_name(0x8000_1234), "0x80001234");
        assert_eq!(return_code_name(0x30), "CKR_DEVICE_ERROR");
    }

    #[test]
    fn a_refused_pin_is_never_retried() {
        for row in TABLE.iter().filter(|row| row.name.starts_with("CKR_PIN_")) {
            assert_eq!(
                row.meaning,
                Meaning { kind: Kind::PinLatched, cure: Cure::Latch, retry: false },
                "{}",
                row.name
            );
        }
    }
}

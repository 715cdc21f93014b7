//! The messages.

use crate::doctor::Check;
use crate::key::{KeyAttributes, TokenObject};
use crate::{HealthCause, HsmError, HsmErrorKind, HsmFailure, Pin, PinChange, SlotReport, Unadoptable};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;

/// What a new worker is for; the first frame on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    Serve(Serve),
    Initialise(Initialise),
    Reinitialise(Reinitialise),
    ChangePin(ChangePin),
    ListSlots(ListSlots),
    Examine(Examine),
    Measure(Measure),
}

/// Hold a token and sign.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serve {
    pub(crate) token: TokenAddress,
    /// Sockets that follow the control socket.
    pub(crate) lanes: u32,
    /// Idle for so long, sessions are touched.
    pub(crate) keepalive_milliseconds: u64,
    /// Most bytes of private memory that the process may map.
    pub(crate) data_limit_bytes: u64,
    /// Log in although the token has refused the PIN before, once, and forget the refusal where that succeeds.
    pub(crate) clear_latch: bool,
}

/// Where a token is found and what opens it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TokenAddress {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) serial: Option<String>,
    /// The serial number that an earlier worker has seen: no other token is taken.
    pub(crate) seen_serial: Option<String>,
    pub(crate) pin: Pin,
    pub(crate) lock_dir: PathBuf,
}

/// Make a new token in an uninitialised slot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Initialise {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) slot: Option<u64>,
    pub(crate) so_pin: Pin,
    pub(crate) user_pin: Pin,
    pub(crate) lock_dir: PathBuf,
    pub(crate) storage_is_new: bool,
}

/// Destroy all that is in a token, and make it anew.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reinitialise {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) serial: Option<String>,
    pub(crate) so_pin: Pin,
    pub(crate) user_pin: Pin,
    pub(crate) lock_dir: PathBuf,
}

/// Change a PIN of a token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChangePin {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) serial: Option<String>,
    pub(crate) lock_dir: PathBuf,
    pub(crate) change: PinChange,
}

/// Tell which slots and tokens the module shows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListSlots {
    pub(crate) module: PathBuf,
}

/// Find out about a module and its token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Examine {
    pub(crate) module: PathBuf,
    /// Without one, only the module.
    pub(crate) label: Option<String>,
    pub(crate) serial: Option<String>,
    /// Without one, only what needs no login.
    pub(crate) pin: Option<Pin>,
    pub(crate) lock_dir: PathBuf,
    pub(crate) checks: Vec<Check>,
    pub(crate) most_sessions: u32,
    /// How long each rate is measured.
    pub(crate) milliseconds: u64,
}

/// Sign as fast as the token goes, with a session key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) token: TokenAddress,
    pub(crate) algorithm: u8,
    pub(crate) threads: u32,
    pub(crate) milliseconds: u64,
}

/// The first answer of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Started {
    Serving(TokenFacts),
    Initialised {
        serial: String,
    },
    Measured {
        signatures: u64,
        nanoseconds: u64,
    },
    PinChanged,
    /// The token was asked to change a PIN, and what it did is not known.
    PinUnknown(WireFailure),
    Slots(Vec<SlotReport>),
    /// What is found follows, frame by frame, until the socket ends.
    Examining,
    Failed(WireFailure),
}

impl Started {
    /// The error that an answer other than the expected one is. `what` begins it.
    pub(crate) fn into_error(self, what: &str) -> HsmError {
        match self {
            Self::Failed(failure) | Self::PinUnknown(failure) => HsmError::failure(what, failure.into_failure()),
            Self::Serving(_)
            | Self::Initialised { .. }
            | Self::Measured { .. }
            | Self::PinChanged
            | Self::Slots(_)
            | Self::Examining => {
                HsmError::new(HsmErrorKind::Bug, format!("{what}: the worker answered something else"))
            }
        }
    }
}

/// What a worker learned about its token.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct TokenFacts {
    pub(crate) label: String,
    pub(crate) serial: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) firmware_version: String,
    pub(crate) hardware_version: String,
    pub(crate) sessions_max: Option<u64>,
    pub(crate) mechanisms: Vec<MechanismFact>,
    /// Key types of which a key could be made, by [`crate::offer::key_name`].
    pub(crate) made: HashSet<String>,
    /// Mechanisms for making keys are listed, and yet none could be made.
    pub(crate) makes_no_keys: bool,
    /// Lanes that are served; the rest of the sockets is not, since the token allows no more sessions.
    pub(crate) lanes: u32,
    /// The first so many of them got a session at once.
    pub(crate) lanes_with_session: u32,
}

/// One mechanism of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MechanismFact {
    /// For example `CKM_ECDSA`.
    pub(crate) name: String,
    /// Smallest and largest key: in bits for RSA; for others in units that tokens do not agree on.
    pub(crate) min_size: u64,
    pub(crate) max_size: u64,
    pub(crate) flags: Vec<MechanismFlag>,
}

/// What a mechanism is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MechanismFlag {
    Sign,
    Verify,
    Generate,
    GenerateKeyPair,
}

impl MechanismFlag {
    /// The standard's name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "CKF_SIGN",
            Self::Verify => "CKF_VERIFY",
            Self::Generate => "CKF_GENERATE",
            Self::GenerateKeyPair => "CKF_GENERATE_KEY_PAIR",
        }
    }
}

/// Everything but signing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ControlRequest {
    Generate {
        uid: [u8; 16],
        label: String,
        algorithm: u8,
    },
    Inspect {
        id: Vec<u8>,
        algorithm: u8,
    },
    /// With `adopted`, nothing where another key has the id, too, or instead.
    Destroy {
        id: Vec<u8>,
        adopted: Option<WireAdopted>,
    },
    Find {
        id: Option<Vec<u8>>,
        label: Option<String>,
        algorithm: u8,
    },
    List,
    /// Secret key objects alone: those of a CKA_ID, or all.
    ListSecrets {
        id: Option<Vec<u8>>,
    },
    Health,
}

/// The answer to a [`ControlRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ControlReply {
    Key(WireKey),
    Incomplete { private: u64, public: u64, secret: u64 },
    Destroyed(u64),
    Found(WireFound),
    Unadoptable(Unadoptable),
    Objects(Vec<TokenObject>),
    Healthy { sessions_open: u64 },
    Failed(WireFailure),
}

/// A complete key pair, or a secret.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireKey {
    pub(crate) id: Vec<u8>,
    /// `None` for a secret.
    pub(crate) spki_der: Option<Vec<u8>>,
    pub(crate) attributes: KeyAttributes,
}

/// What is known of a key that others have put into the token, and that is to be destroyed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireAdopted {
    pub(crate) algorithm: u8,
    /// The pinned public key; `None` for a secret.
    pub(crate) spki_der: Option<Vec<u8>>,
}

/// A key that others have put into the token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireFound {
    pub(crate) id: Vec<u8>,
    pub(crate) label: String,
    /// `None` for a secret.
    pub(crate) spki_der: Option<Vec<u8>>,
    pub(crate) attributes: KeyAttributes,
}

/// An [`HsmFailure`] on its way, and what the worker wants done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireFailure {
    pub(crate) kind: HsmErrorKind,
    pub(crate) function: String,
    pub(crate) return_code: Option<u64>,
    pub(crate) message: String,
    /// The same signature may be asked for once more.
    pub(crate) retry: bool,
    /// The worker asks to be replaced.
    pub(crate) replace: bool,
    /// The lane got no session, and so the token was not asked: another lane may have one.
    pub(crate) no_session: bool,
    /// What it says of the token, where that is closer than the kind.
    pub(crate) cause: Option<HealthCause>,
}

impl WireFailure {
    pub(crate) fn into_failure(self) -> HsmFailure {
        HsmFailure {
            kind: self.kind,
            function: function_name(&self.function),
            return_code: self.return_code,
            attempts: 1,
            message: self.message,
        }
    }
}

/// The functions that a worker calls; their names outlive the frames that they come in.
static FUNCTIONS: &[&str] = &[
    "C_GetInterface",
    "C_GetFunctionList",
    "C_GetInfo",
    "C_Initialize",
    "C_Finalize",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_GetSessionInfo",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_DestroyObject",
    "C_CopyObject",
    "C_SetAttributeValue",
    "C_WrapKey",
    "C_GetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_SignInit",
    "C_Sign",
    "C_VerifyInit",
    "C_Verify",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_GenerateRandom",
];

fn function_name(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().copied().find(|known| *known == name)
}

//! Holds PKCS#11 tokens, each in a worker process of its own.
//!
//! In scope: starting and supervising workers, one exclusive lock for each token, login and the PIN latch, finding
//! out what a token offers, generating, inspecting, listing and destroying keys, finding those that others have made, signing with a key pair and checking
//! every signature in software before it leaves, making MACs with a secret and telling right ones from wrong ones,
//! drawing random bytes; making tokens, changing their PINs and examining them; and the worker itself. Out of scope:
//! who asks and whether he may (`policy`), the record of what was signed (`audit`), names, versions and states of keys
//! (`core`, `store`), encodings of public keys and signatures (`crypto`).
//!
//! ```text
//! service process                                   worker process (exec of the same program)
//!
//!  Token::sign --- lane 0: socket pair, FIFO ------> thread, session -\
//!        |   \---- lane 1: socket pair, FIFO ------> thread, session --- PKCS#11 module -- token
//!        |                                                            /
//!  bounded queue   control: socket pair -----------> main thread, session, anchor session
//!  supervisor      (PIN, generate, list, health)
//! ```
//!
//! A call goes straight into the lane with the least to do. When all are full it waits in the service's queue, where
//! the death of the worker does not touch it, and where flows take turns ([`Flow`]). No module is ever loaded in the service process.

mod adopt;
mod doctor;
mod error;
mod flow;
mod health;
mod key;
mod offer;
mod pin;
mod private_memory;
mod provision;
mod raw_bench;
mod return_codes;
mod settings;
mod software;
mod status;
mod token;
mod wire;
pub mod worker;

pub use adopt::{FindKeyError, FoundKey, ObjectQuery, Unadoptable};
pub use doctor::{
    AlgorithmOffer, Check, Examination, Examine, Finding, Level, ModuleDescription, SessionRate, TokenDescription,
    examine,
};
pub use error::{ClearLatchError, HsmError, HsmErrorKind, HsmFailure, MissingMechanism};
pub use flow::Flow;
pub use health::{HealthCause, TokenHealth, TokenState};
pub use key::{
    DeviceMac, DeviceSignature, DeviceVerdict, GeneratedKey, KeyAttributes, KeyPresence, MacKey, SignInput, SignTimes,
    SigningKey, TokenObject, TokenObjectClass,
};
pub use pin::{Pin, PinError, PinOrigin, PinSource, others_can_use};
pub use private_memory::keep_memory_private;
pub use provision::{
    ChangeTokenPin, InitialiseToken, InitialisedToken, PinChange, PinChangeFailure, ReinitialiseToken, SlotReport,
    SlotToken, TokenIdentity, change_pin, initialise_token, list_slots, reinitialise_token,
};
pub use raw_bench::{RawRate, measure};
pub use return_codes::return_code_name;
pub use settings::{MAX_DEVICE_MESSAGE_BYTES, MAX_MAC_MESSAGE_BYTES, MAX_RANDOM_BYTES, TokenSettings, WorkerCommand};
pub use software::{ModuleConfiguration, find_softhsm_module};
pub use status::TokenStatus;
pub use token::Token;

use settings::{
    DELICATE_GRACE, FIRST_START_PATIENCE, HANG_PATIENCE, LANE_DEPTH, LOCK_PATIENCE, ORDERLY_GRACE, REPLACING_PATIENCE,
    SIGNING_GRACE, START_PATIENCE,
};

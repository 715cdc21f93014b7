//! KeyService: rings, keys and versions.

mod calls;
mod certificates;
mod change;
mod life_cycle;
mod settings;
mod types;

pub use certificates::{AlternativeName, CertificateRequest};
pub use change::{FrozenRing, NewKey, Rotation, Stopped, TokenObject, new_request_id};
pub use settings::{KeySettings, KeyUpdate};
pub use types::{Key, KeyOrigin, KeyRing, KeyVersion};

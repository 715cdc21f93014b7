//! KeyService: rings, keys and versions.

mod calls;
mod change;
mod types;

pub use change::{NewKey, Rotation, Suspended, new_request_id};
pub use types::{Key, KeyRing, KeyVersion};

//! Cedar's names for our words.

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use chancery_model::{Action, Id, KeyName, Role};
use std::sync::LazyLock;

macro_rules! entity_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $(
            $(#[$doc])*
            pub(crate) static $name: LazyLock<EntityTypeName> =
                LazyLock::new(|| $text.parse().expect("the name of an entity type"));
        )*
    };
}

entity_types! {
    ACTION = "Chancery::Action";
    GROUP = "Chancery::Group";
    ROLE = "Chancery::Role";
    CALLER = "Chancery::Caller";
    CALLERS = "Chancery::Callers";
    KEY_RING = "Chancery::KeyRing";
    KEY = "Chancery::Key";
    POLICY_SET = "Chancery::PolicySet";
    AUDIT_LOG = "Chancery::AuditLog";
    TOKENS = "Chancery::Tokens";
    TOKEN = "Chancery::Token";
}

fn uid(kind: &LazyLock<EntityTypeName>, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id((**kind).clone(), EntityId::new(id))
}

pub(crate) fn action(action: Action) -> EntityUid {
    uid(&ACTION, action.as_str())
}

pub(crate) fn action_group(action: Action) -> EntityUid {
    uid(&ACTION, action.group().as_str())
}

pub(crate) fn caller(id: &Id) -> EntityUid {
    uid(&CALLER, id.as_str())
}

pub(crate) fn callers() -> EntityUid {
    uid(&CALLERS, "all")
}

pub(crate) fn group(id: &Id) -> EntityUid {
    uid(&GROUP, id.as_str())
}

pub(crate) fn role(role: Role) -> EntityUid {
    uid(&ROLE, role.as_str())
}

pub(crate) fn key_ring(id: &Id) -> EntityUid {
    uid(&KEY_RING, id.as_str())
}

/// `ring/key`: an id has no slash, so no two keys share a name.
pub(crate) fn key(name: &KeyName) -> EntityUid {
    uid(&KEY, &format!("{}/{}", name.ring, name.key))
}

pub(crate) fn policy_set() -> EntityUid {
    uid(&POLICY_SET, "current")
}

pub(crate) fn audit_log() -> EntityUid {
    uid(&AUDIT_LOG, "log")
}

pub(crate) fn tokens() -> EntityUid {
    uid(&TOKENS, "all")
}

pub(crate) fn token(id: &Id) -> EntityUid {
    uid(&TOKEN, id.as_str())
}

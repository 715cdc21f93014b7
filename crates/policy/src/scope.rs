//! The scope of a policy: whom, what and which resource its head names; decided without evaluating anything.

use crate::facts::Principal;
use crate::request::Resource;
use crate::uids;
use cedar_policy::{ActionConstraint, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use chancery_model::{Action, Id};

/// The head of a policy.
#[derive(Debug)]
pub(crate) struct Scope {
    principal: PrincipalConstraint,
    action: ActionConstraint,
    resource: ResourceConstraint,
}

/// What a set of policies is selected for: the resource, or for keys the ring that they are in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Any key of this ring.
    KeysOf(Id),
    KeyRing(Id),
    PolicySet,
    AuditLog,
    Token(Id),
    Tokens,
    Callers,
    /// Any caller. Which groups and roles it is in is left to the evaluation, or to [`Scope::takes_caller`]: calls on
    /// callers are few.
    AnyCaller,
}

/// Whether the scope of a policy takes in the resources of a [`Target`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    None,
    /// Only the key of this name, of those in the target's ring.
    Only(EntityUid),
}

impl Scope {
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            principal: policy.principal_constraint(),
            action: policy.action_constraint(),
            resource: policy.resource_constraint(),
        }
    }

    /// Whether the caller is one of those that the policy names.
    pub(crate) fn takes_principal(&self, principal: &Principal) -> bool {
        let within = |uid: &EntityUid| principal.uid == *uid || principal.memberships.contains(uid);
        match &self.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) => principal.uid == *uid,
            PrincipalConstraint::In(uid) => within(uid),
            PrincipalConstraint::Is(kind) => *kind == *uids::CALLER,
            PrincipalConstraint::IsIn(kind, uid) => *kind == *uids::CALLER && within(uid),
        }
    }

    /// Whether the action is one of those that the policy names, itself or by its group.
    pub(crate) fn takes_action(&self, action: Action) -> bool {
        let (own, group) = (uids::action(action), uids::action_group(action));
        match &self.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => *uid == own,
            ActionConstraint::In(named) => named.iter().any(|uid| *uid == own || *uid == group),
        }
    }

    /// Whether the caller that something is done to is one of those that the policy names.
    pub(crate) fn takes_caller(&self, caller: &Principal) -> bool {
        let within = |uid: &EntityUid| caller.uid == *uid || caller.memberships.contains(uid);
        match &self.resource {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) => caller.uid == *uid,
            ResourceConstraint::In(uid) => within(uid),
            ResourceConstraint::Is(kind) => *kind == *uids::CALLER,
            ResourceConstraint::IsIn(kind, uid) => *kind == *uids::CALLER && within(uid),
        }
    }

    /// Which of the target's resources the policy names.
    pub(crate) fn reach(&self, target: &Target) -> Reach {
        match &self.resource {
            ResourceConstraint::Any => Reach::All,
            ResourceConstraint::Eq(uid) => target.is(uid),
            ResourceConstraint::In(uid) => target.is_in(uid),
            ResourceConstraint::Is(kind) if kind == target.kind() => Reach::All,
            ResourceConstraint::IsIn(kind, uid) if kind == target.kind() => target.is_in(uid),
            ResourceConstraint::Is(_) | ResourceConstraint::IsIn(..) => Reach::None,
        }
    }

    /// What the policy demands of the caller, in words; `None` where it demands nothing.
    pub(crate) fn principal_demand(&self) -> Option<String> {
        match &self.principal {
            PrincipalConstraint::Any => None,
            PrincipalConstraint::Eq(uid) => Some(format!("the caller is not {uid}")),
            PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                Some(format!("the caller is not in {uid}"))
            }
            PrincipalConstraint::Is(kind) => Some(format!("the caller is not a {kind}")),
        }
    }

    /// What the policy demands of the resource, in words; `None` where it demands nothing.
    pub(crate) fn resource_demand(&self) -> Option<String> {
        match &self.resource {
            ResourceConstraint::Any => None,
            ResourceConstraint::Eq(uid) => Some(format!("the resource is not {uid}")),
            ResourceConstraint::In(uid) => Some(format!("the resource is not in {uid}")),
            ResourceConstraint::Is(kind) => Some(format!("the resource is not a {kind}")),
            ResourceConstraint::IsIn(kind, uid) => Some(format!("the resource is not a {kind} in {uid}")),
        }
    }
}

impl Target {
    pub(crate) fn of(resource: &Resource) -> Self {
        match resource {
            Resource::KeyRing(facts) => Self::KeyRing(facts.ring.clone()),
            Resource::Key(facts) => Self::KeysOf(facts.name.ring.clone()),
            Resource::PolicySet => Self::PolicySet,
            Resource::AuditLog => Self::AuditLog,
            Resource::Token(id) => Self::Token(id.clone()),
            Resource::Tokens => Self::Tokens,
            Resource::Callers => Self::Callers,
            Resource::Caller(_) => Self::AnyCaller,
        }
    }

    fn kind(&self) -> &'static EntityTypeName {
        match self {
            Self::KeysOf(_) => &uids::KEY,
            Self::KeyRing(_) => &uids::KEY_RING,
            Self::PolicySet => &uids::POLICY_SET,
            Self::AuditLog => &uids::AUDIT_LOG,
            Self::Token(_) => &uids::TOKEN,
            Self::Tokens => &uids::TOKENS,
            Self::Callers => &uids::CALLERS,
            Self::AnyCaller => &uids::CALLER,
        }
    }

    /// Reach of `resource == uid`.
    fn is(&self, uid: &EntityUid) -> Reach {
        let own = match self {
            Self::KeysOf(ring) => {
                let key = uid.id().unescaped().strip_prefix(ring.as_str()).is_some_and(|rest| rest.starts_with('/'));
                let key = key && *uid.type_name() == *uids::KEY;
                return if key { Reach::Only(uid.clone()) } else { Reach::None };
            }
            Self::KeyRing(ring) => uids::key_ring(ring),
            Self::PolicySet => uids::policy_set(),
            Self::AuditLog => uids::audit_log(),
            Self::Token(id) => uids::token(id),
            Self::Tokens => uids::tokens(),
            Self::Callers => uids::callers(),
            Self::AnyCaller => return if *uid.type_name() == *uids::CALLER { Reach::All } else { Reach::None },
        };
        if own == *uid { Reach::All } else { Reach::None }
    }

    /// Reach of `resource in uid`: the resource itself, or what it is in.
    fn is_in(&self, uid: &EntityUid) -> Reach {
        let parent = match self {
            Self::KeysOf(ring) => Some(uids::key_ring(ring)),
            Self::Token(_) => Some(uids::tokens()),
            Self::AnyCaller => return Reach::All,
            Self::KeyRing(_) | Self::PolicySet | Self::AuditLog | Self::Tokens | Self::Callers => None,
        };
        if parent.as_ref() == Some(uid) { Reach::All } else { self.is(uid) }
    }
}

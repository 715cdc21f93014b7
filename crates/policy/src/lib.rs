//! Decides whether a call is allowed, and says why.
//!
//! In scope: the Cedar schema, the policies that ship and those that cannot be removed, validation and hashing of policy
//! sets, decisions, explanations. [`PolicyPoint::authorize`] is the only place where a [`Permit`] is made, and without a
//! permit nothing reaches an HSM. Out of scope: how callers are authenticated (`server`), where policy sets and keys are
//! stored (`store`), when a call is decided and what follows (`core`). Knows nothing of keys' storage, HSM or transport,
//! and is the only crate that knows Cedar.
//!
//! Default is deny, a `forbid` wins, and any error while policies are evaluated is a deny: Cedar itself skips a `forbid`
//! whose condition fails with an error.

mod attributes;
mod clause;
mod decision;
mod depth;
mod document;
mod error;
mod explain;
mod facts;
mod generations;
mod lexer;
mod point;
mod reader;
mod recorded;
mod request;
mod review;
mod schema;
mod scope;
mod selection;
mod set;
mod succession;
mod uids;
mod verdict;

pub use decision::{Decision, DenialReason, Denied, Permit};
pub use document::PolicyDocument;
pub use error::{PolicyError, PolicyErrors};
pub use explain::{Clause, ClauseOutcome, EvaluationFailure, Explanation, NearlyPermit, OutOfScopePermit};
pub use point::PolicyPoint;
pub use recorded::{NotReplayable, RecordedCall};
pub use request::{
    AccessRequest, KeyFacts, OperationContext, OperationKind, RequestContext, Resource, RingFacts, SignInputKind,
};
pub use review::{Access, Review, ReviewCondition};
pub use schema::{SCHEMA, SCHEMA_VERSION};
pub use set::{Effect, PolicySet, PolicySummary};
pub use succession::{someone_can_apply, someone_can_register};

//! Who can do what: the set in force, or a proposed one, asked for each caller, resource and action.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chancery_crypto::jose_algorithm;
use chancery_model::{Action, Algorithm, Caller, Id, KeyName, KeyPurpose, RingName, Sha256Hash};
use chancery_policy::{Access, PolicyDocument, PolicyPoint, Resource, Review};
use tokio::time::Instant;

use crate::keys::key_resource;
use crate::rings::ring_resource;
use crate::state::Snapshot;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

/// Questions that one page asks of policy at most, and the time that it takes, about: a page may so be short, or empty,
/// and yet not the last. A set of a thousand policies that all concern a call takes milliseconds for each question.
const MAX_QUESTIONS: usize = 5_000;
const MAX_TIME: Duration = Duration::from_secs(1);
/// Length of all conditions of a page together, in bytes, about; the last answer may go beyond.
const MAX_CONDITION_BYTES: usize = 512 * 1024;

/// What is to be reviewed; what is not given is everything.
#[derive(Debug, Clone, Default)]
pub struct AccessQuestion {
    /// One caller.
    pub caller: Option<Id>,
    /// One resource, or a key ring with all of its keys.
    pub resource: Option<ReviewedResource>,
    /// One action.
    pub action: Option<Action>,
    /// Answer also what is denied.
    pub include_denied: bool,
    /// A proposed policy set, in the place of the one in force; that one where empty.
    pub documents: Vec<PolicyDocument>,
}

/// A resource by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewedResource {
    /// A key ring and its keys.
    Ring(RingName),
    /// A key.
    Key(KeyName),
    /// A token.
    Token(Id),
    /// All tokens together.
    Tokens,
    /// The policy set.
    PolicySet,
    /// The record.
    AuditLog,
    /// All callers together.
    Callers,
    /// A caller, about whom others may do something.
    Caller(Id),
}

/// What a caller can do to a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveAccess {
    /// Who.
    pub caller: Id,
    /// What.
    pub action: Action,
    /// To what: the resource's name.
    pub resource: String,
    /// Whether, and by which policies.
    pub review: Review,
}

/// Where a page of a review ended: with this question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessPlace {
    caller: Id,
    resource: String,
    action: Action,
}

/// Part of a review.
#[derive(Debug, Clone)]
pub struct AccessPage {
    /// By caller, then resource (in the order of the names' bytes), then action.
    pub items: Vec<EffectiveAccess>,
    /// Where it ended, where there is more.
    pub next: Option<AccessPlace>,
    /// The policy set that answered.
    pub policy_set: Sha256Hash,
}

impl fmt::Display for AccessPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.caller, self.resource, self.action)
    }
}

impl FromStr for AccessPlace {
    type Err = ();

    /// What [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let (Some(caller), Some(resource), Some(action), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(());
        };
        Ok(Self {
            caller: Id::parse("the caller id", caller).map_err(drop)?,
            resource: resource.to_owned(),
            action: action.parse().map_err(drop)?,
        })
    }
}

/// A resource, and for a key what it can be used for at all.
struct Reviewed {
    resource: Resource,
    algorithm: Option<Algorithm>,
}

impl Chancery {
    /// Says who can do what, in pages: for each caller, resource and action whether policy allows it under all, some or no
    /// circumstances. Asks nothing of a key that it is not for (MacSign of a key pair). Of everything there is, the names
    /// are answered; who may review access learns what callers and keys there are.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::NotFound`] for an unknown caller or resource; [`Error::InvalidField`] and
    /// [`Error::PolicyInvalid`] for a proposed set; [`Error::DeadlineExceeded`] where too many ask, or it takes too long.
    pub async fn list_effective_access(
        &self,
        from: &Requester,
        question: AccessQuestion,
        after: Option<AccessPlace>,
        limit: usize,
    ) -> Result<AccessPage, Error> {
        let snapshot = self.snapshot();
        self.authorize_policy(&snapshot, from, Action::ListEffectiveAccess)?;
        let place = place_in(&self.inner.publishing, from.deadline).await?;
        let callers = match &question.caller {
            None => snapshot.callers.all.clone(),
            Some(id) => {
                vec![snapshot.callers.by_id(id).ok_or_else(|| Error::NotFound { name: format!("callers/{id}") })?]
            }
        };
        let resources = self.reviewed_resources(&snapshot, question.resource.as_ref())?;
        let policy = self.policy_of(&snapshot, from, question.documents).await?;
        let (action, include_denied, deadline) = (question.action, question.include_denied, from.deadline);
        let review = move || {
            let page = Paging { action, include_denied, after, limit, deadline };
            page.fill(&policy, callers, &resources)
        };
        blocking_in(place, review).await?
    }

    /// The resources that are asked about, by name.
    fn reviewed_resources(
        &self,
        snapshot: &Snapshot,
        asked: Option<&ReviewedResource>,
    ) -> Result<BTreeMap<String, Reviewed>, Error> {
        let plain = |resource: Resource| Reviewed { resource, algorithm: None };
        let unknown = |name: String| Error::NotFound { name };
        let keys_of = |ring: &RingName| -> Vec<Reviewed> {
            let Some(found) = self.inner.rings.get(&ring.ring) else { return Vec::new() };
            let keys = snapshot.keys_of(ring, Bound::Unbounded);
            keys.map(|key| Reviewed { resource: key_resource(key, found), algorithm: Some(key.algorithm) }).collect()
        };
        let found: Vec<Reviewed> = match asked {
            Some(ReviewedResource::Ring(name)) => {
                let ring = self.inner.rings.get(&name.ring).ok_or_else(|| unknown(name.to_string()))?;
                keys_of(name).into_iter().chain([plain(ring_resource(ring))]).collect()
            }
            Some(ReviewedResource::Key(name)) => {
                let ring = self.inner.rings.get(&name.ring);
                let key = snapshot.keys.get(name).zip(ring).ok_or_else(|| unknown(name.to_string()))?;
                vec![Reviewed { resource: key_resource(key.0, key.1), algorithm: Some(key.0.algorithm) }]
            }
            Some(ReviewedResource::Token(id)) => {
                if !self.inner.tokens.contains_key(id) {
                    return Err(unknown(format!("tokens/{id}")));
                }
                vec![plain(Resource::Token(id.clone()))]
            }
            Some(ReviewedResource::Tokens) => vec![plain(Resource::Tokens)],
            Some(ReviewedResource::PolicySet) => vec![plain(Resource::PolicySet)],
            Some(ReviewedResource::AuditLog) => vec![plain(Resource::AuditLog)],
            Some(ReviewedResource::Callers) => vec![plain(Resource::Callers)],
            Some(ReviewedResource::Caller(id)) => {
                let caller = snapshot.callers.by_id(id).ok_or_else(|| unknown(format!("callers/{id}")))?;
                vec![plain(Resource::Caller(caller))]
            }
            // Single callers are asked about by name: everybody about everybody would be as many questions as callers squared.
            None => {
                let rings = self.inner.rings.values();
                let tokens = self.inner.tokens.keys().map(|id| plain(Resource::Token(id.clone())));
                rings
                    .flat_map(|ring| keys_of(&ring.name).into_iter().chain([plain(ring_resource(ring))]))
                    .chain(tokens)
                    .chain([Resource::Tokens, Resource::PolicySet, Resource::AuditLog, Resource::Callers].map(plain))
                    .collect()
            }
        };
        Ok(found.into_iter().map(|reviewed| (reviewed.resource.to_string(), reviewed)).collect())
    }
}

/// One page: where it begins and what it may hold.
struct Paging {
    action: Option<Action>,
    include_denied: bool,
    after: Option<AccessPlace>,
    limit: usize,
    deadline: Instant,
}

impl Paging {
    fn fill(
        self,
        policy: &PolicyPoint,
        mut callers: Vec<Arc<Caller>>,
        resources: &BTreeMap<String, Reviewed>,
    ) -> Result<AccessPage, Error> {
        let Self { action, include_denied, after, limit, deadline } = self;
        callers.sort_by(|a, b| a.id.cmp(&b.id));
        let mut actions = Action::ALL.to_vec();
        actions.retain(|one| action.is_none_or(|action| action == *one));
        actions.sort();
        // What a page before this one has answered is passed over caller by caller and resource by resource.
        let resume = |caller: &Id| after.as_ref().filter(|place| place.caller == *caller);
        callers.retain(|caller| after.as_ref().is_none_or(|place| caller.id >= place.caller));
        let mut page = AccessPage { items: Vec::new(), next: None, policy_set: policy.policy_set().hash() };
        let begun = Instant::now();
        let (mut questions, mut bytes) = (0, 0);
        let mut last = None;
        for caller in &callers {
            let start = resume(&caller.id).map_or(Bound::Unbounded, |place| Bound::Included(place.resource.clone()));
            for (name, reviewed) in resources.range((start, Bound::Unbounded)) {
                let asked = actions.iter().copied().filter(|action| reviewed.is_asked(*action));
                for action in asked {
                    let place = AccessPlace { caller: caller.id.clone(), resource: name.clone(), action };
                    if after.as_ref().is_some_and(|after| place <= *after) {
                        continue;
                    }
                    // There is one more: so the page ends with the one before it.
                    let enough = questions == MAX_QUESTIONS || questions > 0 && begun.elapsed() >= MAX_TIME;
                    if enough || page.items.len() == limit || bytes > MAX_CONDITION_BYTES {
                        page.next = last;
                        return Ok(page);
                    }
                    if Instant::now() >= deadline {
                        return Err(Error::DeadlineExceeded { record_index: None });
                    }
                    questions += 1;
                    let review = policy.review(caller, action, &reviewed.resource);
                    if include_denied || review.access != Access::Denied {
                        bytes += length(&review);
                        let AccessPlace { caller, resource, action } = place.clone();
                        page.items.push(EffectiveAccess { caller, action, resource, review });
                    }
                    last = Some(place);
                }
            }
        }
        Ok(page)
    }
}

/// About how long an answer is, in bytes.
fn length(review: &Review) -> usize {
    let parts = review.conditions.iter().flat_map(|condition| &condition.parts).map(String::len);
    let descriptions = review.conditions.iter().filter_map(|condition| condition.policy.description.as_deref());
    parts.sum::<usize>() + descriptions.map(str::len).sum::<usize>()
}

impl Reviewed {
    /// Whether the action can be asked of this resource, and is not one that no key of this algorithm is for.
    fn is_asked(&self, action: Action) -> bool {
        self.resource.takes(action) && self.algorithm.is_none_or(|algorithm| is_for(algorithm, action))
    }
}

/// Whether keys of this algorithm are for an action that keys are asked for.
fn is_for(algorithm: Algorithm, action: Action) -> bool {
    match action {
        Action::Sign | Action::Verify | Action::GetPublicKey | Action::SetCertificateChain => {
            algorithm.purpose() == KeyPurpose::Signature
        }
        Action::CreateCertificateSigningRequest => chancery_crypto::is_in_x509(algorithm),
        Action::SignJwt => jose_algorithm(algorithm).is_some(),
        Action::MacSign | Action::MacVerify => algorithm.purpose() == KeyPurpose::Mac,
        Action::GenerateRandomBytes
        | Action::ListKeyRings
        | Action::GetKeyRing
        | Action::FreezeKeyRing
        | Action::UnfreezeKeyRing
        | Action::CreateKey
        | Action::AdoptKey
        | Action::GetKey
        | Action::ListKeys
        | Action::RotateKey
        | Action::ListKeyVersions
        | Action::GetKeyVersion
        | Action::SuspendKeyVersion
        | Action::ResumeKeyVersion
        | Action::UpdateKey
        | Action::DeactivateKeyVersion
        | Action::MarkKeyVersionCompromised
        | Action::ScheduleKeyVersionDestruction
        | Action::CancelKeyVersionDestruction
        | Action::GetPolicySet
        | Action::ApplyPolicySet
        | Action::ValidatePolicySet
        | Action::ExplainAuthorization
        | Action::ListEffectiveAccess
        | Action::ReplayPolicySet
        | Action::ListRecords
        | Action::WatchRecords
        | Action::GetCheckpoint
        | Action::GetInclusionProof
        | Action::GetConsistencyProof
        | Action::ListTokens
        | Action::GetToken
        | Action::ClearPinLatch
        | Action::CreateCaller
        | Action::GetCaller
        | Action::ListCallers
        | Action::UpdateCaller
        | Action::SuspendCaller
        | Action::ResumeCaller
        | Action::IssueApiKey
        | Action::ListApiKeys
        | Action::RotateApiKey
        | Action::RevokeApiKey => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_what_is_none_is_refused() {
        let place = AccessPlace {
            caller: Id::parse("the caller id", "shop").unwrap(),
            resource: "keyRings/payments/keys/jwt".to_owned(),
            action: Action::SignJwt,
        };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "shop", "shop tokens", "shop tokens Fly", "Shop tokens Sign", "shop tokens Sign more"] {
            assert_eq!(text.parse::<AccessPlace>(), Err(()), "{text:?}");
        }
    }

    #[test]
    fn keys_are_asked_only_what_they_are_for() {
        let of = |algorithm| -> Vec<Action> {
            let using = [
                Action::Sign,
                Action::SignJwt,
                Action::MacSign,
                Action::CreateCertificateSigningRequest,
                Action::Verify,
                Action::MacVerify,
                Action::GetPublicKey,
                Action::GetKey,
            ];
            using.into_iter().filter(|action| is_for(algorithm, *action)).collect()
        };
        let pair = [Action::Verify, Action::GetPublicKey, Action::GetKey];
        let named = [Action::Sign, Action::SignJwt, Action::CreateCertificateSigningRequest];
        assert_eq!(of(Algorithm::Ed25519), [named.as_slice(), &pair].concat());
        assert_eq!(of(Algorithm::EcdsaSecp256k1Keccak256), [&named[..1], &pair].concat());
        assert_eq!(of(Algorithm::HmacSha256), [Action::MacSign, Action::MacVerify, Action::GetKey]);
    }
}

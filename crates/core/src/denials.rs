//! Refusals on their way to the record: aggregated by caller, resource, action, reason and second, and of each caller only so
//! many told apart, so that nobody can fill the disk by being refused, nor hide another's refusals behind his own. Those of nobody in particular are aggregated by reason and minute: whoever reaches the
//! port can cause them, and what that adds to the record is bounded by a constant, whatever is asked for and however often.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chancery_audit::{Decision, Denial, DenialReason, Details, Hex, Log};
use chancery_model::{Action, Caller, CertificateProof, Sha256Hash, Timestamp, Uid};
use chancery_policy::Denied;

use crate::callers::{Unfit, Unidentified};
use crate::{Chancery, EvidenceFault, Requester, details};

/// How many different refusals of one caller are told apart between two times that they are handed over, which is each second.
/// What is beyond is only counted, for that caller.
const SHARE: u32 = 16;
/// The same for all callers together.
const MAX_DISTINCT: usize = 1024;
/// Length of a resource's name in a record, in bytes: what does not exist may have any name.
const MAX_NAME_BYTES: usize = 256;
/// How often the refusals of strangers for one reason come to the record, and those of a caller beyond his share: the first at
/// once, those after it together.
const TOGETHER_INTERVAL: Duration = Duration::from_secs(60);

/// Why a call was refused.
pub(crate) enum Refused {
    ByPolicy(Denied),
    Unknown {
        policy_set: Sha256Hash,
    },
    /// The caller may not ask for anything any more; policy was not asked.
    Unfit(Unfit),
    /// The API key leaves it out; policy was not asked.
    OutOfScope,
    /// Policy allows it, and the caller's own signature does not bear it out.
    Unvouched(EvidenceFault),
}

impl Refused {
    /// The reason, as the record says it.
    pub fn reason(&self) -> DenialReason {
        match self {
            Self::ByPolicy(denied) => reason_of(denied),
            Self::Unknown { .. } => DenialReason::UnknownResource,
            Self::Unfit(unfit) => unfit.reason(),
            Self::OutOfScope => DenialReason::OutOfScope,
            Self::Unvouched(fault) => fault.reason(),
        }
    }
}

/// The refusals since they were last handed over.
#[derive(Default)]
pub(crate) struct Denials {
    callers: Mutex<Callers>,
    /// Those of nobody in particular, by the word for the reason.
    strangers: Mutex<BTreeMap<&'static str, Together>>,
}

/// The refusals of registered callers.
#[derive(Default)]
struct Callers {
    apart: BTreeMap<Sort, Denial>,
    /// How many there are of each caller.
    shares: HashMap<Uid, u32>,
    /// Of callers who went beyond their share. Until a minute has passed with fewer, nothing of theirs is told apart.
    beyond: BTreeMap<Uid, Together>,
}

/// Refusals of which no more is kept than their number, and how the first of them was.
#[derive(Default)]
struct Together {
    /// When some were last handed over.
    handed_over: Option<Instant>,
    waiting: Option<Denial>,
}

impl Together {
    /// Counts one more; the first is as said.
    fn count(&mut self, first: impl FnOnce() -> Denial) {
        let waiting = self.waiting.get_or_insert_with(|| Denial { count: 0, ..first() });
        waiting.count = waiting.count.saturating_add(1);
    }

    /// What is to be on the record at `now`; all of it where there is no time left.
    fn take(&mut self, now: Option<Instant>) -> Option<Denial> {
        if self.waiting.is_none() || now.is_some_and(|now| !self.has_passed(now)) {
            return None;
        }
        self.handed_over = now;
        self.waiting.take()
    }

    fn has_passed(&self, now: Instant) -> bool {
        self.handed_over.is_none_or(|last| now >= last + TOGETHER_INTERVAL)
    }

    /// Whether a whole interval has passed with no more than would have been told apart.
    fn is_over(&self, now: Instant) -> bool {
        let few = self.waiting.as_ref().is_none_or(|waiting| waiting.count < SHARE);
        self.handed_over.is_some() && self.has_passed(now) && few
    }
}

/// What refusals are counted together by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sort {
    second: i64,
    caller: Uid,
    action: Option<&'static str>,
    named: String,
    reason: DenialReason,
}

impl Denials {
    /// Counts the refusal of an authenticated caller.
    pub fn add(&self, from: &Requester, action: Action, named: &str, resource: Uid, refused: Refused) {
        let reason = refused.reason();
        let mut details = match refused {
            Refused::ByPolicy(denied) => {
                let failures = denied.failures.iter().map(|failure| failure.message.as_str()).collect::<Vec<_>>();
                Details {
                    policies: denied.policies.iter().map(ToString::to_string).collect(),
                    policy_set: Some(Hex::from(denied.policy_set)),
                    message: (!failures.is_empty()).then(|| failures.join("; ")),
                    attributes: Some(denied.attributes),
                    ..details::requester(from)
                }
            }
            Refused::Unknown { policy_set } => {
                let policy_set = Some(Hex::from(policy_set));
                Details { policy_set, ..details::requester(from) }
            }
            Refused::Unvouched(fault) => Details { message: Some(fault.to_string()), ..details::requester(from) },
            Refused::Unfit(_) | Refused::OutOfScope => details::requester(from),
        };
        details.resource = Some(shortened(named));
        self.count(from.caller.uid, Some(action), resource, reason, details);
    }

    /// Counts a refusal before anybody was known. What was asked for is not told apart: anybody can ask for anything.
    fn add_unauthenticated(&self, source: Option<SocketAddr>, reason: &'static str) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.entry(reason).or_default().count(|| {
            let details = Details {
                source_address: source.map(|address| address.to_string()),
                message: Some(reason.to_owned()),
                ..Details::default()
            };
            untold(this_second(), Uid::NONE, DenialReason::UnknownCaller, details)
        });
    }

    /// Counts a refusal of a registered caller before its call was looked at.
    fn add_unfit(
        &self,
        caller: &Caller,
        source: Option<SocketAddr>,
        action: Option<Action>,
        reason: DenialReason,
        why: &str,
    ) {
        let details = Details {
            caller: Some(caller.id.to_string()),
            source_address: source.map(|address| address.to_string()),
            message: Some(shortened(why)),
            ..Details::default()
        };
        self.count(caller.uid, action, Uid::NONE, reason, details);
    }

    fn count(&self, caller: Uid, action: Option<Action>, resource: Uid, reason: DenialReason, details: Details) {
        let second = this_second();
        let named = details.resource.clone().or_else(|| details.message.clone()).unwrap_or_default();
        let sort = Sort { second, caller, action: action.map(Action::as_str), named, reason };
        let mut callers = self.lock();
        let Callers { apart, shares, beyond } = &mut *callers;
        if !beyond.contains_key(&caller)
            && let Some(denial) = apart.get_mut(&sort)
        {
            denial.count = denial.count.saturating_add(1);
            return;
        }
        let share = shares.entry(caller).or_default();
        if beyond.contains_key(&caller) || *share >= SHARE || apart.len() >= MAX_DISTINCT {
            beyond.entry(caller).or_default().count(|| {
                let Details { caller: id, authentication, source_address, .. } = details;
                let details = Details { caller: id, authentication, source_address, ..Details::default() };
                untold(second, caller, DenialReason::Overflow, details)
            });
            return;
        }
        *share += 1;
        let second = start_of(second);
        let details = Details {
            action: action.map(|action| action.to_string()),
            decision: Some(Decision::Deny),
            reason: Some(reason),
            ..details
        };
        apart.insert(sort, Denial { second, caller, resource, action, reason, count: 1, details });
    }

    /// Hands to the record what has come together and is to be there by now.
    pub fn flush(&self, log: &Log) {
        hand_over(log, self.take(Some(Instant::now())));
    }

    /// Hands all that has come together to the record.
    pub fn flush_all(&self, log: &Log) {
        hand_over(log, self.take(None));
    }

    /// What is to be on the record at `now`; all of it where there is no time left.
    fn take(&self, now: Option<Instant>) -> Vec<Denial> {
        let mut callers = self.lock();
        callers.shares.clear();
        let mut due: Vec<Denial> = std::mem::take(&mut callers.apart).into_values().collect();
        callers.beyond.retain(|_caller, together| {
            let over = now.is_some_and(|now| together.is_over(now));
            due.extend(together.take(now));
            !over
        });
        drop(callers);
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        due.extend(strangers.values_mut().filter_map(|together| together.take(now)));
        due
    }

    fn lock(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refusal of which neither action nor resource is told.
fn untold(second: i64, caller: Uid, reason: DenialReason, details: Details) -> Denial {
    let details = Details { decision: Some(Decision::Deny), reason: Some(reason), ..details };
    Denial { second: start_of(second), caller, resource: Uid::NONE, action: None, reason, count: 1, details }
}

fn start_of(second: i64) -> Timestamp {
    Timestamp::from_unix_micros(second.saturating_mul(1_000_000))
}

fn hand_over(log: &Log, denials: Vec<Denial>) {
    if !denials.is_empty() {
        log.record_denials(denials);
    }
}

fn this_second() -> i64 {
    Timestamp::now().unix_micros().div_euclid(1_000_000)
}

impl Chancery {
    /// Counts a refusal before anybody was known by what the call came with: no credential, or one that is not good. Where
    /// the connection's certificate is a registered caller's, it is that caller's refusal: whoever tries out API keys and
    /// tokens on it is no stranger. `reason`, one of a few words, goes into the record.
    pub fn record_unauthenticated(
        &self,
        source: Option<SocketAddr>,
        action: Option<Action>,
        certificate: Option<&CertificateProof>,
        reason: &'static str,
    ) {
        let denials = &self.inner.denials;
        match certificate.and_then(|proof| self.snapshot().callers.by_identity(&proof.identity).map(Arc::clone)) {
            Some(caller) => denials.add_unfit(&caller, source, action, DenialReason::CredentialRefused, reason),
            None => denials.add_unauthenticated(source, reason),
        }
    }

    /// Counts a refusal of credentials that let nobody in. `certificate` is the connection's; `reason`, one of a few words, goes
    /// into the record.
    pub fn record_not_let_in(
        &self,
        source: Option<SocketAddr>,
        action: Option<Action>,
        certificate: Option<&CertificateProof>,
        unidentified: &Unidentified,
        reason: &'static str,
    ) {
        let denials = &self.inner.denials;
        match unidentified {
            Unidentified::NoCredential
            | Unidentified::Unregistered(_)
            | Unidentified::ApiKeyUnknown
            | Unidentified::ApiKeysUnavailable => self.record_unauthenticated(source, action, certificate, reason),
            Unidentified::Suspended(caller) => {
                denials.add_unfit(caller, source, action, DenialReason::CallerSuspended, reason);
            }
            Unidentified::FactorMissing(caller, _)
            | Unidentified::NoLongerTheirs(caller)
            | Unidentified::AnotherCaller(caller)
            | Unidentified::ApiKeyOver(caller, _)
            | Unidentified::OidcTokenOver(caller)
            | Unidentified::ApiKeySource(caller) => {
                denials.add_unfit(caller, source, action, DenialReason::CredentialRefused, reason);
            }
        }
    }
}

fn reason_of(denied: &Denied) -> DenialReason {
    use chancery_policy::DenialReason as Why;
    let other_environment = || denied.policies.iter().any(|policy| policy.ends_with("-stay-in-their-environment"));
    match denied.reason {
        Why::NoPolicyPermits => DenialReason::NotPermitted,
        Why::ForbiddenBy if other_environment() => DenialReason::OtherEnvironment,
        Why::ForbiddenBy => DenialReason::Forbidden,
        Why::EvaluationError => DenialReason::EvaluationFailed,
    }
}

fn shortened(name: &str) -> String {
    name.chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= MAX_NAME_BYTES).then_some(c)
        })
        .collect()
}

#[cfg(test)]
mod tests;

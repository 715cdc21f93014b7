//! Refusals on their way to the record: aggregated by caller, resource, action, reason and second, so that nobody can
//! fill the disk by being refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chancery_audit::{Decision, Denial, DenialReason, Details, Hex, Log};
use chancery_model::{Action, Caller, Sha256Hash, Timestamp, Uid};
use chancery_policy::Denied;

use crate::callers::{Unfit, Unidentified};
use crate::{Chancery, Requester, details};

/// How many different refusals are kept apart in one interval; what is beyond is only counted.
const MAX_DISTINCT: usize = 1024;
/// Length of a resource's name in a record, in bytes: what does not exist may have any name.
const MAX_NAME_BYTES: usize = 256;

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
}

impl Refused {
    /// The reason, as the record says it.
    pub fn reason(&self) -> DenialReason {
        match self {
            Self::ByPolicy(denied) => reason_of(denied),
            Self::Unknown { .. } => DenialReason::UnknownResource,
            Self::Unfit(unfit) => unfit.reason(),
            Self::OutOfScope => DenialReason::OutOfScope,
        }
    }
}

/// The refusals since they were last handed over.
#[derive(Default)]
pub(crate) struct Denials {
    waiting: Mutex<BTreeMap<Sort, Denial>>,
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
            Refused::Unfit(_) | Refused::OutOfScope => details::requester(from),
        };
        details.resource = Some(shortened(named));
        self.count(from.caller.uid, Some(action), resource, reason, details);
    }

    /// Counts a refusal before anybody was known.
    fn add_unauthenticated(&self, source: Option<SocketAddr>, action: Option<Action>, reason: &str) {
        let details = Details {
            source_address: source.map(|address| address.to_string()),
            message: Some(shortened(reason)),
            ..Details::default()
        };
        self.count(Uid::NONE, action, Uid::NONE, DenialReason::UnknownCaller, details);
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
        let second = Timestamp::now().unix_micros().div_euclid(1_000_000);
        let named = details.resource.clone().or_else(|| details.message.clone()).unwrap_or_default();
        let sort = Sort { second, caller, action: action.map(Action::as_str), named, reason };
        let mut waiting = self.lock();
        if let Some(denial) = waiting.get_mut(&sort) {
            denial.count = denial.count.saturating_add(1);
            return;
        }
        let second = Timestamp::from_unix_micros(second.saturating_mul(1_000_000));
        if waiting.len() >= MAX_DISTINCT {
            let reason = DenialReason::Overflow;
            let sort = Sort { second: 0, caller: Uid::NONE, action: None, named: String::new(), reason };
            let entry = waiting.entry(sort).or_insert_with(|| Denial {
                second,
                caller: Uid::NONE,
                resource: Uid::NONE,
                action: None,
                reason,
                count: 0,
                details: Details::default(),
            });
            entry.count = entry.count.saturating_add(1);
            return;
        }
        let details = Details {
            action: action.map(|action| action.to_string()),
            decision: Some(Decision::Deny),
            reason: Some(reason),
            ..details
        };
        waiting.insert(sort, Denial { second, caller, resource, action, reason, count: 1, details });
    }

    /// Hands what has come together to the record.
    pub fn flush(&self, log: &Log) {
        let waiting = std::mem::take(&mut *self.lock());
        if !waiting.is_empty() {
            log.record_denials(waiting.into_values().collect());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sort, Denial>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chancery {
    /// Counts a refusal before anybody was known: an identity that no caller has, or a credential that is no longer
    /// good. `reason` goes into the record; it may name the identity, and holds no secret.
    pub fn record_unauthenticated(&self, source: Option<SocketAddr>, action: Option<Action>, reason: &str) {
        self.inner.denials.add_unauthenticated(source, action, reason);
    }

    /// Counts a refusal of credentials that let nobody in. `reason` goes into the record, and holds no secret.
    pub fn record_not_let_in(
        &self,
        source: Option<SocketAddr>,
        action: Option<Action>,
        unidentified: &Unidentified,
        reason: &str,
    ) {
        let denials = &self.inner.denials;
        match unidentified {
            Unidentified::NoCredential
            | Unidentified::Unregistered(_)
            | Unidentified::ApiKeyUnknown
            | Unidentified::ApiKeysUnavailable => denials.add_unauthenticated(source, action, reason),
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
mod tests {
    use super::*;

    #[test]
    fn equal_refusals_are_counted_and_the_table_is_bounded() {
        let denials = Denials::default();
        for _ in 0..3 {
            denials.add_unauthenticated(None, None, "nobody");
        }
        // Within one second or across the border of two, none is lost.
        assert_eq!(denials.lock().values().map(|denial| denial.count).sum::<u32>(), 3);
        for number in 0..2 * MAX_DISTINCT {
            denials.add_unauthenticated(None, None, &number.to_string());
        }
        assert_eq!(denials.lock().len(), MAX_DISTINCT + 1);
        let all: u32 = denials.lock().values().map(|denial| denial.count).sum();
        assert_eq!(all as usize, 3 + 2 * MAX_DISTINCT);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened(&"ä".repeat(200)).len(), MAX_NAME_BYTES);
    }
}

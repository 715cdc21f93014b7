//! Refusals on their way to the record: aggregated by caller, resource, action, reason and second, so that nobody can
//! fill the disk by being refused. Those of nobody in particular are aggregated by reason and minute: whoever reaches the
//! port can cause them, and what that adds to the record is bounded by a constant, whatever is asked for and however often.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chancery_audit::{Decision, Denial, DenialReason, Details, Hex, Log};
use chancery_model::{Action, Caller, Sha256Hash, Timestamp, Uid};
use chancery_policy::Denied;

use crate::callers::{Unfit, Unidentified};
use crate::{Chancery, Requester, details};

/// How many different refusals are kept apart in one interval; what is beyond is only counted.
const MAX_DISTINCT: usize = 1024;
/// Length of a resource's name in a record, in bytes: what does not exist may have any name.
const MAX_NAME_BYTES: usize = 256;
/// How often the refusals of strangers for one reason come to the record: the first at once, those after it together.
const STRANGERS_INTERVAL: Duration = Duration::from_secs(60);

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
    /// By the word for the reason.
    strangers: Mutex<BTreeMap<&'static str, Strangers>>,
}

/// The refusals of nobody in particular, for one reason.
#[derive(Default)]
struct Strangers {
    /// When some were last handed over.
    handed_over: Option<Instant>,
    waiting: Option<Denial>,
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

    /// Counts a refusal before anybody was known. What was asked for is not told apart: anybody can ask for anything.
    fn add_unauthenticated(&self, source: Option<SocketAddr>, reason: &'static str) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = &mut strangers.entry(reason).or_default().waiting;
        if let Some(denial) = waiting {
            denial.count = denial.count.saturating_add(1);
            return;
        }
        let details = Details {
            source_address: source.map(|address| address.to_string()),
            message: Some(reason.to_owned()),
            decision: Some(Decision::Deny),
            reason: Some(DenialReason::UnknownCaller),
            ..Details::default()
        };
        *waiting = Some(Denial {
            second: Timestamp::from_unix_micros(this_second().saturating_mul(1_000_000)),
            caller: Uid::NONE,
            resource: Uid::NONE,
            action: None,
            reason: DenialReason::UnknownCaller,
            count: 1,
            details,
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
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let due = strangers.values_mut().filter_map(|strangers| {
            let early = |now| strangers.handed_over.is_some_and(|last| now < last + STRANGERS_INTERVAL);
            if strangers.waiting.is_none() || now.is_some_and(early) {
                return None;
            }
            strangers.handed_over = now;
            strangers.waiting.take()
        });
        std::mem::take(&mut *self.lock()).into_values().chain(due).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sort, Denial>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// Counts a refusal before anybody was known: no credential, or one that is not good. `reason`, one of a few words,
    /// goes into the record.
    pub fn record_unauthenticated(&self, source: Option<SocketAddr>, reason: &'static str) {
        self.inner.denials.add_unauthenticated(source, reason);
    }

    /// Counts a refusal of credentials that let nobody in. `reason`, one of a few words, goes into the record.
    pub fn record_not_let_in(
        &self,
        source: Option<SocketAddr>,
        action: Option<Action>,
        unidentified: &Unidentified,
        reason: &'static str,
    ) {
        let denials = &self.inner.denials;
        match unidentified {
            Unidentified::NoCredential
            | Unidentified::Unregistered(_)
            | Unidentified::ApiKeyUnknown
            | Unidentified::ApiKeysUnavailable => denials.add_unauthenticated(source, reason),
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

    fn add(denials: &Denials, named: &str) {
        let details = Details { resource: Some(named.to_owned()), ..Details::default() };
        denials.count(Uid::NONE, Some(Action::Sign), Uid::NONE, DenialReason::UnknownResource, details);
    }

    #[test]
    fn equal_refusals_are_counted_and_the_table_is_bounded() {
        let denials = Denials::default();
        for _ in 0..3 {
            add(&denials, "nothing");
        }
        // Within one second or across the border of two, none is lost.
        assert_eq!(denials.lock().values().map(|denial| denial.count).sum::<u32>(), 3);
        for number in 0..2 * MAX_DISTINCT {
            add(&denials, &number.to_string());
        }
        assert_eq!(denials.lock().len(), MAX_DISTINCT + 1);
        let all: u32 = denials.lock().values().map(|denial| denial.count).sum();
        assert_eq!(all as usize, 3 + 2 * MAX_DISTINCT);
    }

    #[test]
    fn strangers_add_one_record_for_each_reason_and_minute_and_none_of_them_is_lost() {
        let denials = Denials::default();
        let begun = Instant::now();
        let (mut recorded, mut counted, mut asked) = (Vec::new(), 0, 0);
        for second in 0..180 {
            for port in 0..50 {
                denials.add_unauthenticated(Some(SocketAddr::from(([192, 0, 2, 1], port))), "no_certificate");
                denials.add_unauthenticated(None, "api_key_unknown");
                asked += 2;
            }
            let handed_over = denials.take(Some(begun + Duration::from_secs(second)));
            counted += handed_over.iter().map(|denial| denial.count).sum::<u32>();
            recorded.extend(handed_over.into_iter().map(|denial| (second, denial)));
        }
        let seconds: Vec<u64> = recorded.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 0, 60, 60, 120, 120], "the first at once");
        let left = denials.take(None);
        assert_eq!(left.len(), 2, "what is left at the end");
        assert_eq!(counted + left.iter().map(|denial| denial.count).sum::<u32>(), asked);
        assert!(recorded.iter().all(|(_, denial)| denial.action.is_none() && denial.caller == Uid::NONE));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened(&"ä".repeat(200)).len(), MAX_NAME_BYTES);
    }
}

//! Guards against the policy set that nobody could ever replace.

use crate::decision::Decision;
use crate::facts::Principal;
use crate::point::PolicyPoint;
use crate::reader::{BUILTIN_NAME, LoadedPolicy};
use crate::request::{AccessRequest, OperationContext, RequestContext, Resource};
use crate::set::Effect;
use chancery_model::{Action, Caller, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Addresses tried beside those that policies name: this host, a private network, the Internet.
const ADDRESSES: [&str; 4] = ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1"];

/// Addresses taken from policies at most.
const MAX_NAMED_ADDRESSES: usize = 32;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Calls tried at most; a set that needs more is refused.
const MAX_CALLS: usize = 100_000;

/// Whether at least one of `callers` could apply another policy set under this one: where not, a set must be refused,
/// or the service could be governed no more.
///
/// `true` is proven by a call that would be allowed. Where policies ask for the source address, addresses of each range
/// that they name are tried; where they ask for the time, each hour of the next week. So a set that lets policy be
/// changed only from the office, or only on Monday mornings, is accepted; one that lets it be changed only in a minute
/// between two hours, or only until yesterday, is not.
#[must_use]
pub fn someone_can_apply(point: &PolicyPoint, callers: &[Arc<Caller>]) -> bool {
    let own = point.policy_set().loaded().iter().filter(|policy| *policy.document != *BUILTIN_NAME);
    let own: Vec<&LoadedPolicy> = own.filter(|policy| policy.scope.takes_action(Action::ApplyPolicySet)).collect();
    let asks_for = |word: &str| own.iter().any(|policy| policy.text.contains(word));
    let mut sources = addresses(&own);
    if !asks_for("sourceAddress") {
        sources.truncate(1);
    }
    let hours = if asks_for("now") { 7 * 24 } else { 1 };
    let candidates: Vec<&Arc<Caller>> = callers.iter().filter(|caller| some_permit_takes(&own, caller)).collect();

    let now = Timestamp::now();
    let contexts =
        (0..hours).flat_map(|hour| sources.iter().map(move |source| context(now.after(HOUR * hour), *source)));
    let calls = contexts.flat_map(|context| {
        let request = AccessRequest { action: Action::ApplyPolicySet, resource: Resource::PolicySet, context };
        candidates.iter().map(move |caller| (*caller, request.clone()))
    });
    calls.take(MAX_CALLS).any(|(caller, request)| matches!(point.authorize(caller, &request), Decision::Allowed(_)))
}

/// Whether some permit names the caller, itself or by a group or role.
fn some_permit_takes(policies: &[&LoadedPolicy], caller: &Caller) -> bool {
    let Ok(principal) = Principal::new(caller) else { return false };
    policies.iter().any(|policy| policy.effect() == Effect::Permit && policy.scope.takes_principal(&principal))
}

fn context(now: Timestamp, source: IpAddr) -> RequestContext {
    RequestContext { source: Some(source), authentication: "certificate", now, operation: OperationContext::Plain }
}

/// An address of each range that the policies name as `ip("...")`, and the usual ones.
fn addresses(policies: &[&LoadedPolicy]) -> Vec<IpAddr> {
    let named = policies.iter().flat_map(|policy| policy.text.split("ip(").skip(1)).filter_map(|rest| {
        let literal = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        literal.split('/').next()?.parse::<IpAddr>().ok()
    });
    let mut addresses: Vec<IpAddr> = ADDRESSES.iter().filter_map(|text| text.parse().ok()).collect();
    addresses.extend(named.take(MAX_NAMED_ADDRESSES));
    addresses
}

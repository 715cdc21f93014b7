//! Guards against the policy set that nobody could ever replace, and the registration after which nobody could register.

use crate::decision::Decision;
use crate::facts::Principal;
use crate::point::PolicyPoint;
use crate::reader::{BUILTIN_NAME, LoadedPolicy};
use crate::request::{AccessRequest, OperationContext, RequestContext, Resource};
use crate::set::Effect;
use chancery_model::{Action, Caller, Timestamp};
use std::collections::BTreeSet;
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
    let operation = |_: &Caller| OperationContext::Plain;
    someone_can(point, callers, Action::ApplyPolicySet, &Resource::PolicySet, operation)
}

/// Whether at least one of `callers` could register another caller, without any role and of its own environment. Proven as
/// for [`someone_can_apply`].
#[must_use]
pub fn someone_can_register(point: &PolicyPoint, callers: &[Arc<Caller>]) -> bool {
    let operation = |caller: &Caller| OperationContext::Registration {
        environment: caller.environment.clone(),
        groups: BTreeSet::new(),
        roles: BTreeSet::new(),
        rings: BTreeSet::new(),
    };
    someone_can(point, callers, Action::CreateCaller, &Resource::Callers, operation)
}

fn someone_can(
    point: &PolicyPoint,
    callers: &[Arc<Caller>],
    action: Action,
    resource: &Resource,
    operation: impl Fn(&Caller) -> OperationContext,
) -> bool {
    let own = point.policy_set().loaded().iter().filter(|policy| *policy.document != *BUILTIN_NAME);
    let own: Vec<&LoadedPolicy> = own.filter(|policy| policy.scope.takes_action(action)).collect();
    let asks_for = |word: &str| own.iter().any(|policy| policy.text.contains(word));
    let mut sources = addresses(&own);
    if !asks_for("sourceAddress") {
        sources.truncate(1);
    }
    let hours = if asks_for("now") { 7 * 24 } else { 1 };
    let candidates: Vec<&Arc<Caller>> = callers.iter().filter(|caller| some_permit_takes(&own, caller)).collect();

    let now = Timestamp::now();
    let circumstances = (0..hours).flat_map(|hour| sources.iter().map(move |source| (now.after(HOUR * hour), *source)));
    let calls = circumstances.flat_map(|(now, source)| candidates.iter().map(move |caller| (*caller, now, source)));
    calls.take(MAX_CALLS).any(|(caller, now, source)| {
        let context = context(now, source, operation(caller));
        let request = AccessRequest { action, resource: resource.clone(), context };
        matches!(point.authorize(caller, &request), Decision::Allowed(_))
    })
}

/// Whether some permit names the caller, itself or by a group or role.
fn some_permit_takes(policies: &[&LoadedPolicy], caller: &Caller) -> bool {
    let Ok(principal) = Principal::new(caller) else { return false };
    policies.iter().any(|policy| policy.effect() == Effect::Permit && policy.scope.takes_principal(&principal))
}

fn context(now: Timestamp, source: IpAddr, operation: OperationContext) -> RequestContext {
    RequestContext { source: Some(source), authentication: "certificate", now, operation }
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

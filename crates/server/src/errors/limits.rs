//! What who meets a limit is told: whose it is, which one, and how long to wait where waiting helps.

use super::Refusal;
use chancery_core::Limited;
use chancery_model::{KeyName, LimitKind, Rate};
use std::time::Duration;
use tonic::Code;

pub(super) fn usage(of: &Limited, kind: LimitKind, limit: u64, retry_after: Option<Duration>) -> Refusal {
    let (reason, had) = match of {
        Limited::Key(_) => ("KEY_USAGE_LIMIT", "has made the {limit} signatures that it may make"),
        Limited::Caller(_) => ("CALLER_USAGE_LIMIT", "was given the {limit} signatures that it may have"),
    };
    let (field, which, next) = match (kind, of) {
        (LimitKind::Total, Limited::Key(_)) => ("max_signatures", "in all", "rotating does not help"),
        (LimitKind::Total, Limited::Caller(_)) => ("max_signatures", "in all", "waiting does not help"),
        (LimitKind::Daily, _) => ("max_daily_signatures", "today (UTC)", "wait until midnight"),
    };
    let had = had.replace("{limit}", &limit.to_string());
    let message = format!("{of} {had} {which}; {next}; {} can raise its {field}", administrator(of));
    refusal(reason, message, of, field, retry_after)
}

pub(super) fn rate(of: &Limited, rate: Rate, uses: u32, retry_after: Option<Duration>) -> Refusal {
    let reason = match of {
        Limited::Key(_) => "KEY_RATE_LIMIT",
        Limited::Caller(_) => "CALLER_RATE_LIMIT",
    };
    let Rate { per_second, burst } = rate;
    let who = administrator(of);
    let (field, message) = match retry_after {
        Some(wait) => {
            let message = format!(
                "{of} has had the {per_second} uses a second ({burst} at once) that it may have; try again in {wait:.1?}, or \
                 ask for fewer: {who} can raise its max_uses_per_second"
            );
            ("max_uses_per_second", message)
        }
        None => {
            let message = format!(
                "{of} may have {burst} uses at once, and the call asks for {uses}; send at most {burst} in a batch, or ask for \
                 more: {who} can raise its max_burst"
            );
            ("max_burst", message)
        }
    };
    refusal(reason, message, of, field, retry_after)
}

pub(super) fn concurrency(key: &KeyName, limit: u32, uses: u32) -> Refusal {
    let of = Limited::Key(key.clone());
    let (reason, field) = ("KEY_CONCURRENCY_LIMIT", "max_concurrent_uses");
    let who = administrator(&of);
    if uses > limit {
        let message = format!(
            "{key} may have {limit} uses under way, and the call asks for {uses}; send at most {limit} in a batch, or ask for \
             more: {who} can raise its {field}"
        );
        return refusal(reason, message, &of, field, None);
    }
    let message = format!(
        "{key} has as many uses under way as it may, {limit}; wait for some to end, or ask for more: {who} can raise its {field}"
    );
    refusal(reason, message, &of, field, None).retry_soon()
}

const fn administrator(of: &Limited) -> &'static str {
    match of {
        Limited::Key(_) => "whoever administers the key",
        Limited::Caller(_) => "whoever administers callers",
    }
}

fn refusal(
    reason: &'static str,
    message: String,
    of: &Limited,
    field: &'static str,
    retry_after: Option<Duration>,
) -> Refusal {
    let refusal = Refusal::new(Code::ResourceExhausted, reason, message).with("resource", of).with("limit", field);
    match retry_after {
        Some(wait) => refusal.retry_after(wait),
        None => refusal,
    }
}

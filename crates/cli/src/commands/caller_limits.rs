//! What a caller may take of the service, as it is typed.

use chancery_api::v1;
use clap::Args;

use super::key_settings::{OrNone, count};

/// The limits of a new caller.
#[derive(Debug, Args)]
pub struct Limits {
    /// How many uses of tokens it gets in a second, in the long run [default: what everybody gets]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_uses_per_second: Option<u32>,
    /// How many uses at once [default: as many as in a second]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "max_uses_per_second")]
    max_burst: Option<u32>,
    /// How many calls it may have under way at the same time [default: as many as everybody]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_concurrent_calls: Option<u32>,
    /// How many signatures are made for it in all [default: without end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_signatures: Option<u64>,
    /// How many signatures are made for it a day, in UTC [default: without end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_daily_signatures: Option<u64>,
}

impl Limits {
    /// Puts them into a caller.
    pub fn set(self, caller: &mut v1::Caller) {
        let Self { max_uses_per_second, max_burst, max_concurrent_calls, max_signatures, max_daily_signatures } = self;
        caller.max_uses_per_second = max_uses_per_second.unwrap_or(0);
        caller.max_burst = max_burst.unwrap_or(0);
        caller.max_concurrent_calls = max_concurrent_calls.unwrap_or(0);
        caller.max_signatures = max_signatures.unwrap_or(0);
        caller.max_daily_signatures = max_daily_signatures.unwrap_or(0);
    }
}

/// Other limits of a caller.
#[derive(Debug, Args)]
pub struct LimitChanges {
    /// How many uses of tokens it gets in a second, in the long run; none: what everybody gets
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    max_uses_per_second: Option<OrNone<u32>>,
    /// How many uses at once; none: as many as in a second
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    max_burst: Option<OrNone<u32>>,
    /// How many calls it may have under way at the same time; none: as many as everybody
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    max_concurrent_calls: Option<OrNone<u32>>,
    /// How many signatures are made for it in all; none: without end
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    max_signatures: Option<OrNone<u64>>,
    /// How many signatures are made for it a day, in UTC; none: without end
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    max_daily_signatures: Option<OrNone<u64>>,
}

impl LimitChanges {
    /// Puts what is given into a caller, and names it.
    pub fn set(self, caller: &mut v1::Caller) -> Vec<&'static str> {
        let Self { max_uses_per_second, max_burst, max_concurrent_calls, max_signatures, max_daily_signatures } = self;
        let paces = [
            ("max_uses_per_second", max_uses_per_second, &mut caller.max_uses_per_second),
            ("max_burst", max_burst, &mut caller.max_burst),
            ("max_concurrent_calls", max_concurrent_calls, &mut caller.max_concurrent_calls),
        ];
        let counts = [
            ("max_signatures", max_signatures, &mut caller.max_signatures),
            ("max_daily_signatures", max_daily_signatures, &mut caller.max_daily_signatures),
        ];
        let paces = paces.into_iter().filter_map(|(path, given, field)| put(path, given, field));
        let counts = counts.into_iter().filter_map(|(path, given, field)| put(path, given, field));
        paces.chain(counts).collect()
    }
}

fn put<N: Default>(path: &'static str, given: Option<OrNone<N>>, field: &mut N) -> Option<&'static str> {
    let OrNone(limit) = given?;
    *field = limit.unwrap_or_default();
    Some(path)
}

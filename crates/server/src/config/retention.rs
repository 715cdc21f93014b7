//! `[retention]`: how long the details of records are kept.

use serde::Deserialize;
use std::num::NonZeroU16;

/// After how many days details are erased; absent: never. Leaves are never erased, and acts keep their details.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of intents, and of outcomes that changed nothing: who signed what, from where.
    pub signature_details_days: Option<NonZeroU16>,
    /// Of refusals.
    pub refusal_details_days: Option<NonZeroU16>,
}

impl Retention {
    /// For the core.
    pub(crate) const fn settings(&self) -> chancery_core::Retention {
        chancery_core::Retention {
            signature_days: self.signature_details_days,
            refusal_days: self.refusal_details_days,
        }
    }
}

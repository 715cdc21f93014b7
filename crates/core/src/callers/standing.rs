//! Whether who asks is still who they were taken for: looked at when a call begins, and again in each decision.

use std::net::IpAddr;
use std::sync::Arc;

use chancery_audit::DenialReason;
use chancery_model::{Authentication, Caller, CallerState, Timestamp};

use super::authenticate::Unidentified;
use crate::Requester;
use crate::api_keys::ApiKeyState;
use crate::state::Snapshot;

/// Why a caller that was let in is let do nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    Suspended,
    /// The credential is the caller's no more, or not enough any more.
    Credential,
}

impl Unfit {
    pub const fn reason(self) -> DenialReason {
        match self {
            Self::Suspended => DenialReason::CallerSuspended,
            Self::Credential => DenialReason::CredentialRefused,
        }
    }
}

impl Snapshot {
    /// The caller as this snapshot knows it, where it may still ask. A decision is made from one snapshot, and recorded
    /// under its epoch: with this in it, no change of a caller or of an API key can pass a call by.
    pub fn standing(&self, from: &Requester) -> Result<&Arc<Caller>, Unfit> {
        let caller = self.callers.by_uid(from.caller.uid).ok_or(Unfit::Credential)?;
        let source = from.source.map(|source| source.ip());
        match self.holds(caller, &from.authentication, source) {
            Ok(()) => Ok(caller),
            Err(Unidentified::Suspended(_)) => Err(Unfit::Suspended),
            Err(_) => Err(Unfit::Credential),
        }
    }

    /// Whether these credentials, which were found genuine, are the caller's, hold now, and are all that it requires.
    pub(super) fn holds(
        &self,
        caller: &Arc<Caller>,
        authentication: &Authentication,
        source: Option<IpAddr>,
    ) -> Result<(), Unidentified> {
        if caller.state == CallerState::Suspended {
            return Err(Unidentified::Suspended(Arc::clone(caller)));
        }
        if let Some(certificate) = authentication.certificate()
            && !caller.identities.contains(&certificate.identity)
        {
            return Err(Unidentified::NoLongerTheirs(Arc::clone(caller)));
        }
        if let Some(proof) = authentication.api_key() {
            let key = self.api_keys.by_uid(proof.uid).filter(|key| key.caller_uid == caller.uid);
            let key = key.ok_or_else(|| Unidentified::NoLongerTheirs(Arc::clone(caller)))?;
            let state = key.state(Timestamp::now());
            if state != ApiKeyState::Active {
                return Err(Unidentified::ApiKeyOver(Arc::clone(caller), state));
            }
            if !key.scope.takes_source(source) {
                return Err(Unidentified::ApiKeySource(Arc::clone(caller)));
            }
        }
        if let Some(token) = authentication.oidc_token() {
            if !caller.identities.contains(&token.identity) {
                return Err(Unidentified::NoLongerTheirs(Arc::clone(caller)));
            }
            if token.expires <= Timestamp::now() {
                return Err(Unidentified::OidcTokenOver(Arc::clone(caller)));
            }
        }
        match caller.required_factors.iter().find(|factor| !authentication.has(**factor)) {
            Some(factor) => Err(Unidentified::FactorMissing(Arc::clone(caller), *factor)),
            None => Ok(()),
        }
    }
}

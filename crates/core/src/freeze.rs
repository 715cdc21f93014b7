//! Freezing key rings: everything stops but verification, and what makes things safer still goes.
//!
//! Whether a ring is frozen is part of the state, like the state of a version: an intent that was decided before a freeze is
//! recorded before it, or not at all. Policy is asked first, so that nobody learns of a ring that he may not use.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use chancery_model::{Action, Id, RingName, RingState};
use chancery_policy::OperationContext;
use chancery_store::{KeyRingRow, RowChange};
use tokio::time::Instant;

use crate::change::Plan;
use crate::rings::RingView;
use crate::state::Snapshot;
use crate::{Chancery, Error, Requester, details};

/// A ring whose keys sign no more, and what was still under way.
#[derive(Debug, Clone)]
pub struct FrozenRing {
    /// The ring.
    pub ring: RingView,
    /// Indexes of intents and of keys in the making in this ring that had not ended when the wait was over.
    pub open_intents: Vec<u64>,
}

/// The states of the rings that were ever frozen.
pub(crate) type RingStates = Arc<BTreeMap<Id, Arc<KeyRingRow>>>;

pub(crate) fn ring_states(rows: Vec<KeyRingRow>) -> RingStates {
    Arc::new(rows.into_iter().map(|row| (row.name.ring.clone(), Arc::new(row))).collect())
}

impl Snapshot {
    /// Whether the ring's keys are not used.
    pub fn is_frozen(&self, ring: &Id) -> bool {
        self.ring_states.get(ring).is_some_and(|row| row.state == RingState::Frozen)
    }

    /// Refuses what a frozen ring does not do. The caller is known to be allowed to do it otherwise.
    pub fn refuse_frozen(&self, action: Action, ring: &RingName) -> Result<(), Error> {
        if stops(action) && self.is_frozen(&ring.ring) {
            return Err(Error::KeyRingFrozen { ring: ring.clone(), action });
        }
        Ok(())
    }
}

impl Chancery {
    /// Stops all use of a ring's keys but verification, and waits for the intents that were recorded before. Asked again, it
    /// changes nothing, waits, and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], and those of the record.
    pub async fn freeze_key_ring(&self, from: &Requester, name: RingName, reason: String) -> Result<FrozenRing, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let ring = this.turn_ring(&from, Action::FreezeKeyRing, &name, &reason, RingState::Frozen).await?;
            let open_intents = this.wait_for_ring(&name).await;
            Ok(FrozenRing { ring, open_intents })
        })
        .await
    }

    /// Lets a frozen ring's keys be used again. What the rules of keys have asked for meanwhile is caught up with. Asked
    /// again, it changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], and those of the record.
    pub async fn unfreeze_key_ring(&self, from: &Requester, name: RingName, reason: String) -> Result<RingView, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            this.turn_ring(&from, Action::UnfreezeKeyRing, &name, &reason, RingState::Active).await
        })
        .await
    }

    async fn turn_ring(
        &self,
        from: &Requester,
        action: Action,
        name: &RingName,
        reason: &str,
        state: RingState,
    ) -> Result<RingView, Error> {
        self.change(|snapshot| {
            let (ring, permit) = self.authorize_ring(snapshot, from, action, name, OperationContext::Plain)?;
            let before = snapshot.ring_states.get(&ring.name.ring);
            if before.map_or(RingState::Active, |row| row.state) == state {
                return Ok(Plan::Nothing(()));
            }
            let row = KeyRingRow {
                uid: before.map_or_else(chancery_crypto::new_uid, |row| Ok(row.uid))?,
                name: ring.name.clone(),
                state,
                state_changed: self.inner.clock.now(),
                reason: (!reason.is_empty()).then(|| reason.to_owned()),
            };
            let described = details::Described::new(from, &permit, ring.name.to_string()).because(reason);
            let act = described.act(row.uid, false);
            Ok(Plan::Change { rows: vec![RowChange::PutKeyRing(row)], act: Box::new(act), then: () })
        })
        .await?;
        let ring = self.inner.rings.get(&name.ring).ok_or_else(|| Error::NotFound { name: name.to_string() })?;
        Ok(self.ring_view(&self.snapshot(), ring))
    }

    /// Waits until nothing of this ring that was decided before now is under way. Answers the indexes of what still is when
    /// the patience is over.
    async fn wait_for_ring(&self, name: &RingName) -> Vec<u64> {
        let deadline = Instant::now() + self.inner.limits.suspend_wait;
        let snapshot = self.snapshot();
        let versions = snapshot.keys_of(name, Bound::Unbounded).flat_map(|key| key.versions.values());
        let uids: Vec<_> = versions.map(|version| version.uid).collect();
        let mut open = Vec::new();
        for uid in uids {
            open.extend(self.inner.in_flight.wait_for_older(uid, snapshot.epoch, deadline).await);
        }
        open.sort_unstable();
        open
    }

    /// The rings of callers, and whether each is frozen; for whoever watches over them from inside the service.
    #[must_use]
    pub fn frozen_key_rings(&self) -> Vec<(Id, bool)> {
        let snapshot = self.snapshot();
        self.inner.rings.keys().map(|ring| (ring.clone(), snapshot.is_frozen(ring))).collect()
    }
}

/// Whether a frozen ring does not do this: what uses a secret to make something new, what makes keys, and what would take
/// back a stop or destroy what is to be looked at. Verification goes on, as do reading, what is laid down for keys, and what
/// stops them for longer.
const fn stops(action: Action) -> bool {
    match action {
        Action::Sign
        | Action::SignJwt
        | Action::MacSign
        | Action::CreateCertificateSigningRequest
        | Action::GenerateRandomBytes
        | Action::CreateKey
        | Action::AdoptKey
        | Action::RotateKey
        | Action::ResumeKeyVersion
        // A version that waits for its destruction verifies no more.
        | Action::ScheduleKeyVersionDestruction => true,
        Action::Verify
        | Action::MacVerify
        | Action::GetPublicKey
        | Action::ListKeyRings
        | Action::GetKeyRing
        | Action::FreezeKeyRing
        | Action::UnfreezeKeyRing
        | Action::GetKey
        | Action::ListKeys
        | Action::UpdateKey
        | Action::ListKeyVersions
        | Action::GetKeyVersion
        | Action::SuspendKeyVersion
        | Action::DeactivateKeyVersion
        | Action::MarkKeyVersionCompromised
        | Action::CancelKeyVersionDestruction
        | Action::SetCertificateChain
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
        | Action::RevokeApiKey => false,
    }
}

//! Key versions: listing, suspending, resuming.

use std::sync::Arc;

use chancery_model::{Action, KeyName, KeyState, KeyVersionName, Timestamp};
use chancery_policy::OperationContext;
use chancery_store::{KeyVersionRow, RowChange};
use tokio::time::Instant;

use crate::change::{Done, Plan};
use crate::details;
use crate::keys::KeyOrVersion;
use crate::paging::Page;
use crate::state::VersionEntry;
use crate::{Chancery, Error, Requester};

/// A version that no longer signs, and what was still under way.
#[derive(Debug, Clone)]
pub struct Suspended {
    /// The version.
    pub version: Arc<VersionEntry>,
    /// Indexes of intents of this version that had not ended when the wait was over.
    pub open_intents: Vec<u64>,
}

impl Chancery {
    /// One version.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::NotFound`] where the caller may see the key and it has no such version.
    pub async fn get_key_version(&self, from: &Requester, name: KeyVersionName) -> Result<Arc<VersionEntry>, Error> {
        let name = KeyOrVersion::Version(name);
        let snapshot = self.snapshot();
        let allowed = self.authorize_key(&snapshot, from, Action::GetKeyVersion, &name, |_| OperationContext::Plain)?;
        self.resolve(&allowed.key, &name)
    }

    /// A key's versions, newest first.
    ///
    /// # Errors
    /// [`Error::AccessDenied`].
    pub async fn list_key_versions(
        &self,
        from: &Requester,
        name: KeyName,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<Arc<VersionEntry>, u32>, Error> {
        let name = KeyOrVersion::Key(name);
        let snapshot = self.snapshot();
        let allowed =
            self.authorize_key(&snapshot, from, Action::ListKeyVersions, &name, |_| OperationContext::Plain)?;
        let versions =
            allowed.key.versions.range(..before.unwrap_or(u32::MAX)).rev().map(|(_, version)| Arc::clone(version));
        Ok(Page::take(versions, limit, |version| version.name.version))
    }

    /// Stops an ACTIVE version from signing, and waits for the intents that were recorded before. Asked again of a
    /// SUSPENDED version, it changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], and those of the record.
    pub async fn suspend_key_version(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
    ) -> Result<Suspended, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let (from_state, to_state) = (KeyState::Active, KeyState::Suspended);
            let version = this.turn(&from, Action::SuspendKeyVersion, name, &reason, from_state, to_state).await?;
            let deadline = Instant::now() + this.inner.limits.suspend_wait;
            let epoch = this.snapshot().epoch;
            let open_intents = this.inner.in_flight.wait_for_older(version.uid, epoch, deadline).await;
            Ok(Suspended { version, open_intents })
        })
        .await
    }

    /// Lets a SUSPENDED version sign again. Asked again of an ACTIVE version, it changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::WrongState`], and those of the record.
    pub async fn resume_key_version(
        &self,
        from: &Requester,
        name: KeyVersionName,
        reason: String,
    ) -> Result<Arc<VersionEntry>, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let (from_state, to_state) = (KeyState::Suspended, KeyState::Active);
            this.turn(&from, Action::ResumeKeyVersion, name, &reason, from_state, to_state).await
        })
        .await
    }

    async fn turn(
        &self,
        from: &Requester,
        action: Action,
        name: KeyVersionName,
        reason: &str,
        expected: KeyState,
        next: KeyState,
    ) -> Result<Arc<VersionEntry>, Error> {
        let named = KeyOrVersion::Version(name.clone());
        let done = self
            .change(|snapshot| {
                let allowed = self.authorize_key(snapshot, from, action, &named, |_| OperationContext::Plain)?;
                let version = self.resolve(&allowed.key, &named)?;
                if version.state == next {
                    return Ok(Plan::Nothing(version));
                }
                if version.state != expected {
                    return Err(Error::WrongState { version: version.name.clone(), state: version.state, action });
                }
                let row = KeyVersionRow { state: next, state_changed: Timestamp::now(), ..version.to_row() };
                let act = details::Described::new(from, &allowed.permit, version.name.to_string())
                    .because(reason)
                    .act(version.uid, false);
                Ok(Plan::Change { rows: vec![RowChange::PutKeyVersion(row)], act: Box::new(act), then: () })
            })
            .await?;
        match done {
            Done::Nothing(version) => Ok(version),
            Done::Changed { snapshot, .. } => {
                let key = snapshot.keys.get(&name.key).ok_or_else(|| Error::NotFound { name: name.key.to_string() })?;
                self.resolve(key, &named)
            }
        }
    }
}

//! Key versions: finding and listing.

use std::sync::Arc;

use chancery_model::{Action, KeyName, KeyVersionName};
use chancery_policy::OperationContext;

use crate::keys::KeyOrVersion;
use crate::paging::Page;
use crate::state::VersionEntry;
use crate::{Chancery, Error, Requester};

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
}

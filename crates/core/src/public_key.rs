//! Handing out public keys.

use std::sync::Arc;

use chancery_model::{Action, KeyPurpose};
use chancery_policy::OperationContext;

use crate::keys::KeyOrVersion;
use crate::state::VersionEntry;
use crate::{Chancery, Error, Requester};

impl Chancery {
    /// The version that a name stands for, with its pinned public key.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotFound`], [`Error::NoPrimary`], [`Error::WrongPurpose`] for MAC keys,
    /// [`Error::WrongState`] while the version has no public key yet, and when it is not to be trusted any more.
    pub async fn get_public_key(&self, from: &Requester, name: KeyOrVersion) -> Result<Arc<VersionEntry>, Error> {
        let action = Action::GetPublicKey;
        let snapshot = self.snapshot();
        let allowed = self.authorize_key(&snapshot, from, action, &name, |_| OperationContext::Plain)?;
        allowed.key.require(KeyPurpose::Signature, action)?;
        let version = self.resolve(&allowed.key, &name)?;
        if version.public.is_none() || !version.state.is_published() {
            return Err(Error::WrongState { version: version.name.clone(), state: version.state, action });
        }
        Ok(version)
    }
}

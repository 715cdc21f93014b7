//! The first callers: taken from the configuration once, or made by a recorded bootstrap. From then on the store is the
//! truth, and the configuration is not.

use std::collections::{BTreeMap, BTreeSet};

use chancery_audit::Log;
use chancery_model::{Caller, Factor, Id, Identity, Role};
use chancery_store::{CallerRow, Epoch, Reader, RowChange};

use super::register::row_of;
use crate::registry::Callers;
use crate::{Error, details};

/// A caller as the configuration, or whoever bootstraps, declares it.
#[derive(Debug, Clone)]
pub struct CallerDeclaration {
    /// The id.
    pub id: Id,
    /// The environment whose rings the caller may use.
    pub environment: Id,
    /// How the caller is recognised.
    pub identities: BTreeSet<Identity>,
    /// Groups.
    pub groups: BTreeSet<Id>,
    /// Roles.
    pub roles: BTreeSet<Role>,
    /// The rings to which the roles extend.
    pub rings: BTreeSet<Id>,
    /// Names and values that policies can speak of.
    pub attributes: BTreeMap<String, String>,
    /// What each request must prove.
    pub required_factors: BTreeSet<Factor>,
}

/// Why the first caller was not registered.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// There are callers already.
    #[error(
        "callers are registered already, {registered} of them, for example callers/{first}; one of them registers others: \
         chancery callers create"
    )]
    Refused {
        /// How many.
        registered: usize,
        /// One of them.
        first: Id,
    },
    /// Nothing else than another service's tokens would let it in.
    #[error(
        "none of these identities can be in a certificate, and whoever administers must not depend on another service; give \
         spiffe://trust-domain/path or dns:name"
    )]
    NoCertificate,
    /// The store or the record failed.
    #[error("the caller cannot be registered")]
    State(#[source] Error),
}

/// Registers the first caller, on the record, in a store that has none.
///
/// # Errors
/// [`BootstrapError`]; refused where anybody is registered already.
pub async fn bootstrap(log: &Log, reader: &Reader, first: CallerDeclaration) -> Result<(), BootstrapError> {
    let reader = reader.clone();
    let read = crate::blocking(move || reader.load_state()).await.map_err(BootstrapError::State)?;
    let state = read.map_err(|error| BootstrapError::State(error.into()))?;
    if !first.identities.iter().any(Identity::is_of_certificate) {
        return Err(BootstrapError::NoCertificate);
    }
    let known = Callers::from_rows(state.callers);
    if let Some(entry) = known.entries_after(None).next() {
        return Err(BootstrapError::Refused { registered: known.all.len(), first: entry.caller.id.clone() });
    }
    register(log, state.epoch, &known, vec![first], "bootstrap").await.map_err(BootstrapError::State)?;
    Ok(())
}

/// The callers that the store knows. Where it knows none, those that the configuration declares are registered; where it
/// does, what the configuration says of them is compared and nothing more.
pub(crate) async fn take_callers(
    log: &Log,
    epoch: Epoch,
    rows: Vec<CallerRow>,
    declared: Vec<CallerDeclaration>,
) -> Result<(Epoch, Callers), Error> {
    let known = Callers::from_rows(rows);
    if known.is_empty() && !declared.is_empty() {
        return register(log, epoch, &known, declared, "the configuration").await;
    }
    for declared in &declared {
        let id = &declared.id;
        match known.by_id(id) {
            None => tracing::warn!(
                caller = %id,
                "the configuration declares a caller that is not registered, and is read for callers no more since the \
                 first start; register it with `chancery callers create {id}`, or remove it from the configuration"
            ),
            Some(caller) if !same(declared, &caller) => tracing::warn!(
                caller = %id,
                "the configuration declares this caller otherwise than it is registered, and is read for callers no more \
                 since the first start; see `chancery callers show {id}`, change it with `chancery callers update {id}`, \
                 or remove it from the configuration"
            ),
            Some(_) => {}
        }
    }
    Ok((epoch, known))
}

async fn register(
    log: &Log,
    epoch: Epoch,
    known: &Callers,
    declared: Vec<CallerDeclaration>,
    from: &str,
) -> Result<(Epoch, Callers), Error> {
    let mut rows = Vec::with_capacity(declared.len());
    for declared in declared {
        let uid = match known.former_uid(&declared.id) {
            Some(uid) => uid,
            None => chancery_crypto::new_uid()?,
        };
        rows.push(row_of(declared, uid));
    }
    let act = details::registration_of_callers(&rows, from);
    let changes = rows.iter().cloned().map(RowChange::PutCaller).collect();
    let changed = log.change(epoch, changes, act).await?;
    Ok((changed.epoch, known.after(rows.iter())))
}

fn same(declared: &CallerDeclaration, caller: &Caller) -> bool {
    let CallerDeclaration { id: _, environment, identities, groups, roles, rings, attributes, required_factors } =
        declared;
    *environment == caller.environment
        && *identities == caller.identities
        && *groups == caller.groups
        && *roles == caller.roles
        && *rings == caller.rings
        && *attributes == caller.attributes
        && *required_factors == caller.required_factors
}

//! Reading the whole state.

use super::{callers, failed, from_sql, head, no_strays};
use crate::{Head, KeyRingRow, KeyRow, KeyVersionRow, PolicyDocument, PolicySetRow, State, StoreError};
use chancery_model::{
    Adoption, Id, KeyName, KeyRules, Pace, RingName, Timestamp, TokenObjectId, Uid, UsageLimits, VersionLife,
};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;

/// Reads everything, in one read transaction.
pub(crate) fn load(connection: &mut Connection) -> Result<State, StoreError> {
    let transaction = connection.transaction().map_err(failed("beginning to read"))?;
    let Head { epoch, next_index } = head::read(&transaction)?;
    let (database, seal) = head::seal(&transaction)?;
    let mut policy_sets = policy_sets(&transaction)?;
    Ok(State {
        epoch,
        database,
        seal,
        next_index,
        leaves: head::leaves(&transaction)?,
        keys: keys(&transaction).map_err(failed("reading the keys"))?,
        key_versions: key_versions(&transaction).map_err(failed("reading the key versions"))?,
        key_rings: key_rings(&transaction).map_err(failed("reading the states of key rings"))?,
        callers: callers::callers(&transaction).map_err(failed("reading the callers"))?,
        api_keys: callers::api_keys(&transaction).map_err(failed("reading the API keys"))?,
        api_key_uses: callers::api_key_uses(&transaction).map_err(failed("reading when API keys were used"))?,
        policy_set: policy_sets.pop(),
        earlier_policy_sets: policy_sets,
    })
}

fn keys(connection: &Connection) -> rusqlite::Result<Vec<KeyRow>> {
    let mut labels: HashMap<Uid, BTreeMap<String, String>> = HashMap::new();
    let mut statement = connection.prepare_cached("SELECT key_uid, name, value FROM key_labels")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        labels.entry(uid(row, 0)?).or_default().insert(row.get(1)?, row.get(2)?);
    }
    let mut statement = connection.prepare_cached(
        "SELECT uid, ring, key, algorithm, allow_digest, primary_version, created, updated, request_id, max_jwt_lifetime,
                owner, deletion_protection, rotation_period, next_rotation, publish_ahead, signing_period,
                max_signatures, max_daily_signatures, max_uses_per_second, max_burst, max_concurrent_uses,
                requires_caller_signature
         FROM keys ORDER BY uid",
    )?;
    let keys = statement
        .query_map([], |row| {
            let uid = uid(row, 0)?;
            Ok(KeyRow {
                uid,
                name: KeyName { ring: id(row, 1, "the key ring id")?, key: id(row, 2, "the key id")? },
                algorithm: parsed(row, 3, str::parse)?,
                allow_digest: row.get(4)?,
                labels: labels.remove(&uid).unwrap_or_default(),
                primary_version: row.get(5)?,
                created: time(row, 6)?,
                updated: time(row, 7)?,
                request_id: row.get(8)?,
                max_jwt_lifetime_seconds: row.get(9)?,
                rules: KeyRules {
                    owner: row.get(10)?,
                    deletion_protection: row.get(11)?,
                    rotation_period_seconds: row.get(12)?,
                    next_rotation: optional_time(row, 13)?,
                    publish_ahead_seconds: row.get(14)?,
                    signing_period_seconds: row.get(15)?,
                    limits: UsageLimits { total: optional_count(row, 16)?, daily: optional_count(row, 17)? },
                    pace: Pace { per_second: row.get(18)?, burst: row.get(19)?, concurrent: row.get(20)? },
                    requires_caller_signature: row.get(21)?,
                },
            })
        })?
        .collect();
    no_strays(!labels.is_empty(), "a label belongs to no key")?;
    keys
}

fn key_versions(connection: &Connection) -> rusqlite::Result<Vec<KeyVersionRow>> {
    let mut certificates: HashMap<Uid, Vec<Vec<u8>>> = HashMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT version_uid, der, position FROM key_version_certificates ORDER BY version_uid, position",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let chain = certificates.entry(uid(row, 0)?).or_default();
        no_strays(usize::try_from(row.get::<_, i64>(2)?) != Ok(chain.len()), "a certificate is missing in its chain")?;
        chain.push(row.get(1)?);
    }
    let mut statement = connection.prepare_cached(
        "SELECT uid, key_uid, version, state, spki_der, created, generated, state_changed, request_id, activation,
                compromised, destroy_at, before_destruction, token_id, imported, extractable
         FROM key_versions ORDER BY key_uid, version",
    )?;
    let versions = statement
        .query_map([], |row| {
            let uid = uid(row, 0)?;
            Ok(KeyVersionRow {
                uid,
                key_uid: row.get(1).map(Uid::from_bytes)?,
                version: row.get(2)?,
                state: parsed(row, 3, str::parse)?,
                spki_der: row.get(4)?,
                created: time(row, 5)?,
                generated: optional_time(row, 6)?,
                state_changed: time(row, 7)?,
                request_id: row.get(8)?,
                life: VersionLife {
                    activation: optional_time(row, 9)?,
                    compromised: optional_time(row, 10)?,
                    destroy_at: optional_time(row, 11)?,
                    before_destruction: match row.get_ref(12)? {
                        ValueRef::Null => None,
                        _ => Some(parsed(row, 12, str::parse)?),
                    },
                    certificates: certificates.remove(&uid).unwrap_or_default(),
                },
                adoption: adoption(row, 13)?,
            })
        })?
        .collect();
    no_strays(!certificates.is_empty(), "a certificate belongs to no key version")?;
    versions
}

/// Three columns, from `first` on.
fn adoption(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Adoption>> {
    let Some(id) = row.get_ref(first)?.as_blob_or_null()? else {
        let marked = row.get_ref(first + 1)? != ValueRef::Null || row.get_ref(first + 2)? != ValueRef::Null;
        no_strays(marked, "a key version that was not adopted is marked as if it were")?;
        return Ok(None);
    };
    let object_id = TokenObjectId::try_from(id)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(first, Type::Blob, Box::new(error)))?;
    Ok(Some(Adoption { object_id, imported: row.get(first + 1)?, extractable: row.get(first + 2)? }))
}

fn key_rings(connection: &Connection) -> rusqlite::Result<Vec<KeyRingRow>> {
    let mut statement =
        connection.prepare_cached("SELECT uid, ring, state, state_changed, reason FROM key_rings ORDER BY ring")?;
    statement
        .query_map([], |row| {
            Ok(KeyRingRow {
                uid: uid(row, 0)?,
                name: RingName { ring: id(row, 1, "the key ring id")? },
                state: parsed(row, 2, str::parse)?,
                state_changed: time(row, 3)?,
                reason: row.get(4)?,
            })
        })?
        .collect()
}

/// All of them, the oldest first.
fn policy_sets(connection: &Connection) -> Result<Vec<PolicySetRow>, StoreError> {
    const DOING: &str = "reading the policy sets";
    let read = || {
        let mut documents: BTreeMap<i64, Vec<PolicyDocument>> = BTreeMap::new();
        let mut statement = connection
            .prepare_cached("SELECT version, position, name, text FROM policy_documents ORDER BY version, position")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let set = documents.entry(row.get(0)?).or_default();
            no_strays(
                usize::try_from(row.get::<_, i64>(1)?) != Ok(set.len()),
                "a document is missing in its policy set",
            )?;
            set.push(PolicyDocument { name: row.get(2)?, text: row.get(3)? });
        }
        let mut statement =
            connection.prepare_cached("SELECT version, hash, applied, applied_by FROM policy_sets ORDER BY version")?;
        let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, time(row, 2)?, row.get(3)?));
        let sets: Vec<(i64, _, _, _)> = statement.query_map([], columns)?.collect::<rusqlite::Result<_>>()?;
        let with_documents = |(version, hash, applied, applied_by)| {
            (version, hash, applied, applied_by, documents.remove(&version).unwrap_or_default())
        };
        let sets: Vec<_> = sets.into_iter().map(with_documents).collect();
        no_strays(!documents.is_empty(), "a document belongs to no policy set")?;
        Ok(sets)
    };
    let sets = read().map_err(failed(DOING))?.into_iter();
    sets.map(|(version, hash, applied, applied_by, documents)| {
        let version = from_sql(version, "the version of a policy set")?;
        Ok(PolicySetRow { version, hash, documents, applied, applied_by })
    })
    .collect()
}

pub(super) fn uid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uid> {
    row.get(column).map(Uid::from_bytes)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_unix_micros)
}

fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_unix_micros))
}

pub(super) fn optional_count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let count: Option<i64> = row.get(column)?;
    let positive =
        |count: i64| u64::try_from(count).map_err(|_negative| rusqlite::Error::IntegralValueOutOfRange(column, count));
    count.map(positive).transpose()
}

pub(super) fn id(row: &Row<'_>, column: usize, what: &'static str) -> rusqlite::Result<Id> {
    parsed(row, column, |text| Id::parse(what, text))
}

/// A text column that holds one of the model's words.
pub(super) fn parsed<T, E>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    parse(text).map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

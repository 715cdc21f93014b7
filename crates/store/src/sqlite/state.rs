//! Reading the whole state.

use super::{callers, failed, from_sql, head};
use crate::{KeyRingRow, KeyRow, KeyVersionRow, PolicyDocument, PolicySetRow, State, StoreError};
use chancery_model::{
    Adoption, Id, KeyName, KeyRules, Pace, RingName, Timestamp, TokenObjectId, Uid, UsageLimits, VersionLife,
};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;

/// Reads everything, in one read transaction.
pub(crate) fn load(connection: &mut Connection) -> Result<State, StoreError> {
    let transaction = connection.transaction().map_err(failed("beginning to read"))?;
    Ok(State {
        epoch: head::read(&transaction)?.epoch,
        keys: keys(&transaction).map_err(failed("reading the keys"))?,
        key_versions: key_versions(&transaction).map_err(failed("reading the key versions"))?,
        key_rings: key_rings(&transaction).map_err(failed("reading the states of key rings"))?,
        callers: callers::callers(&transaction).map_err(failed("reading the callers"))?,
        api_keys: callers::api_keys(&transaction).map_err(failed("reading the API keys"))?,
        api_key_uses: callers::api_key_uses(&transaction).map_err(failed("reading when API keys were used"))?,
        policy_set: policy_set(&transaction)?,
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
                max_signatures, max_daily_signatures, max_uses_per_second, max_burst, max_concurrent_uses
         FROM keys ORDER BY uid",
    )?;
    statement
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
                },
            })
        })?
        .collect()
}

fn key_versions(connection: &Connection) -> rusqlite::Result<Vec<KeyVersionRow>> {
    let mut certificates: HashMap<Uid, Vec<Vec<u8>>> = HashMap::new();
    let mut statement = connection
        .prepare_cached("SELECT version_uid, der FROM key_version_certificates ORDER BY version_uid, position")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        certificates.entry(uid(row, 0)?).or_default().push(row.get(1)?);
    }
    let mut statement = connection.prepare_cached(
        "SELECT uid, key_uid, version, state, spki_der, created, generated, state_changed, request_id, activation,
                compromised, destroy_at, before_destruction, token_id, imported, extractable
         FROM key_versions ORDER BY key_uid, version",
    )?;
    statement
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
        .collect()
}

/// Three columns, from `first` on.
fn adoption(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Adoption>> {
    let Some(id) = row.get_ref(first)?.as_blob_or_null()? else { return Ok(None) };
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

fn policy_set(connection: &Connection) -> Result<Option<PolicySetRow>, StoreError> {
    const DOING: &str = "reading the policy set";
    let newest = connection
        .prepare_cached("SELECT version, hash, applied, applied_by FROM policy_sets ORDER BY version DESC LIMIT 1")
        .and_then(|mut statement| {
            let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, time(row, 2)?, row.get(3)?));
            statement.query_row([], row).optional()
        })
        .map_err(failed(DOING))?;
    let Some((version, hash, applied, applied_by)) = newest else { return Ok(None) };
    let documents = connection
        .prepare_cached("SELECT name, text FROM policy_documents WHERE version = ?1 ORDER BY position")
        .and_then(|mut statement| {
            let row = |row: &Row<'_>| Ok(PolicyDocument { name: row.get(0)?, text: row.get(1)? });
            statement.query_map([version], row)?.collect()
        })
        .map_err(failed(DOING))?;
    let version = from_sql(version, "the version of a policy set")?;
    Ok(Some(PolicySetRow { version, hash, documents, applied, applied_by }))
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

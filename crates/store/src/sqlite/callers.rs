//! Callers and their API keys: writing and reading.

use super::no_strays;
use super::rows::{execute, put};
use super::state::{id, optional_count, parsed, time, uid};
use super::to_sql;
use crate::{ApiKeyRow, CallerRegistration, CallerRow, StoreError};
use chancery_model::{ApiKeyScope, CallerLimits, Id, Pace, Timestamp, Uid, UsageLimits};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::str::FromStr;

pub(super) fn put_caller(connection: &Connection, row: &CallerRow) -> Result<(), StoreError> {
    const DOING: &str = "writing a caller";
    let CallerRow { id, uid, registration } = row;
    let Some(registration) = registration else {
        return put(
            connection,
            "INSERT INTO callers (uid, id) VALUES (?1, ?2) ON CONFLICT (uid) DO UPDATE SET id = excluded.id",
            params![uid.as_bytes(), id.as_str()],
            DOING,
        );
    };
    let CallerRegistration {
        environment,
        identities,
        groups,
        roles,
        rings,
        attributes,
        required_factors,
        limits,
        state,
        created,
        updated,
        state_changed,
        request_id,
    } = registration;
    let CallerLimits { usage: UsageLimits { total, daily }, pace: Pace { per_second, burst, concurrent } } = limits;
    let limit = |limit: &Option<u64>| limit.map(|count| to_sql(count, "a limit of signatures")).transpose();
    put(
        connection,
        "INSERT INTO callers
             (uid, id, environment, state, created, updated, state_changed, request_id, max_uses_per_second, max_burst,
              max_concurrent_calls, max_signatures, max_daily_signatures)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (uid) DO UPDATE SET
             id = excluded.id, environment = excluded.environment, state = excluded.state, created = excluded.created,
             updated = excluded.updated, state_changed = excluded.state_changed, request_id = excluded.request_id,
             max_uses_per_second = excluded.max_uses_per_second, max_burst = excluded.max_burst,
             max_concurrent_calls = excluded.max_concurrent_calls, max_signatures = excluded.max_signatures,
             max_daily_signatures = excluded.max_daily_signatures",
        params![
            uid.as_bytes(),
            id.as_str(),
            environment.as_str(),
            state.as_str(),
            created.unix_micros(),
            updated.unix_micros(),
            state_changed.unix_micros(),
            request_id,
            per_second,
            burst,
            concurrent,
            limit(total)?,
            limit(daily)?,
        ],
        DOING,
    )?;
    for sql in [
        "DELETE FROM caller_identities WHERE caller_uid = ?1",
        "DELETE FROM caller_memberships WHERE caller_uid = ?1",
        "DELETE FROM caller_attributes WHERE caller_uid = ?1",
    ] {
        execute(connection, sql, [uid.as_bytes()], DOING)?;
    }
    for identity in identities {
        let sql = "INSERT INTO caller_identities (identity, caller_uid) VALUES (?1, ?2)";
        put(connection, sql, params![identity.to_string(), uid.as_bytes()], DOING)?;
    }
    let insert = |kind: &str, value: &dyn ToString| {
        let sql = "INSERT INTO caller_memberships (caller_uid, kind, value) VALUES (?1, ?2, ?3)";
        put(connection, sql, params![uid.as_bytes(), kind, value.to_string()], DOING)
    };
    groups.iter().try_for_each(|group| insert("group", group))?;
    roles.iter().try_for_each(|role| insert("role", role))?;
    rings.iter().try_for_each(|ring| insert("key_ring", ring))?;
    required_factors.iter().try_for_each(|factor| insert("required_factor", factor))?;
    for (name, value) in attributes {
        let sql = "INSERT INTO caller_attributes (caller_uid, name, value) VALUES (?1, ?2, ?3)";
        put(connection, sql, params![uid.as_bytes(), name, value], DOING)?;
    }
    Ok(())
}

pub(super) fn put_api_key(connection: &Connection, row: &ApiKeyRow) -> Result<(), StoreError> {
    const DOING: &str = "writing an API key";
    let ApiKeyRow { uid, id, caller_uid, secret_hmac, scope, created, expires, revoked, replaced_by, request_id } = row;
    let ApiKeyScope { access, actions, rings, networks } = scope;
    put(
        connection,
        "INSERT INTO api_keys
             (uid, id, caller_uid, secret_hmac, access, created, expires, revoked, replaced_by, request_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (uid) DO UPDATE SET
             id = excluded.id, caller_uid = excluded.caller_uid, secret_hmac = excluded.secret_hmac,
             access = excluded.access, created = excluded.created, expires = excluded.expires,
             revoked = excluded.revoked, replaced_by = excluded.replaced_by, request_id = excluded.request_id",
        params![
            uid.as_bytes(),
            id.as_str(),
            caller_uid.as_bytes(),
            secret_hmac,
            access.as_str(),
            created.unix_micros(),
            expires.unix_micros(),
            revoked.map(Timestamp::unix_micros),
            replaced_by.as_ref().map(Uid::as_bytes),
            request_id,
        ],
        DOING,
    )?;
    execute(connection, "DELETE FROM api_key_scopes WHERE key_uid = ?1", [uid.as_bytes()], DOING)?;
    let insert = |kind: &str, value: &dyn ToString| {
        let sql = "INSERT INTO api_key_scopes (key_uid, kind, value) VALUES (?1, ?2, ?3)";
        put(connection, sql, params![uid.as_bytes(), kind, value.to_string()], DOING)
    };
    actions.iter().try_for_each(|action| insert("action", action))?;
    rings.iter().try_for_each(|ring| insert("key_ring", ring))?;
    networks.iter().try_for_each(|network| insert("network", network))
}

/// Notes when an API key was used; a time before the one that is known changes nothing.
pub(crate) fn note_use(connection: &Connection, uid: Uid, used: Timestamp) -> Result<(), StoreError> {
    execute(
        connection,
        "INSERT INTO api_key_uses (key_uid, used) VALUES (?1, ?2)
         ON CONFLICT (key_uid) DO UPDATE SET used = max(used, excluded.used)",
        params![uid.as_bytes(), used.unix_micros()],
        "noting when an API key was used",
    )
}

/// Words by what they belong to and by their kind.
type Words = HashMap<(Uid, String), BTreeSet<String>>;

fn words(connection: &Connection, sql: &str) -> rusqlite::Result<Words> {
    let mut words = Words::new();
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        words.entry((uid(row, 0)?, row.get(1)?)).or_default().insert(row.get(2)?);
    }
    Ok(words)
}

/// Takes the words of one kind out as values.
fn take<T>(words: &mut Words, of: Uid, kind: &str) -> rusqlite::Result<BTreeSet<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static> + Ord,
{
    take_by(words, of, kind, str::parse)
}

fn take_ids(words: &mut Words, of: Uid, kind: &str, what: &'static str) -> rusqlite::Result<BTreeSet<Id>> {
    take_by(words, of, kind, |text| Id::parse(what, text))
}

fn take_by<T: Ord, E: Error + Send + Sync + 'static>(
    words: &mut Words,
    of: Uid,
    kind: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> rusqlite::Result<BTreeSet<T>> {
    let wrong = |error: E| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error));
    let texts = words.remove(&(of, kind.to_owned())).unwrap_or_default();
    texts.iter().map(|text| parse(text).map_err(wrong)).collect()
}

pub(super) fn callers(connection: &Connection) -> rusqlite::Result<Vec<CallerRow>> {
    let mut identities = words(connection, "SELECT caller_uid, 'identity', identity FROM caller_identities")?;
    let mut memberships = words(connection, "SELECT caller_uid, kind, value FROM caller_memberships")?;
    let mut attributes: HashMap<Uid, BTreeMap<String, String>> = HashMap::new();
    let mut statement = connection.prepare_cached("SELECT caller_uid, name, value FROM caller_attributes")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        attributes.entry(uid(row, 0)?).or_default().insert(row.get(1)?, row.get(2)?);
    }
    let mut statement = connection.prepare_cached(
        "SELECT uid, id, environment, state, created, updated, state_changed, request_id, max_uses_per_second, max_burst,
                max_concurrent_calls, max_signatures, max_daily_signatures
         FROM callers ORDER BY id",
    )?;
    let callers = statement
        .query_map([], |row| {
            let (uid, id_of_caller) = (uid(row, 0)?, id(row, 1, "the caller id")?);
            if row.get::<_, Option<String>>(2)?.is_none() {
                for column in 3..=7 {
                    let filled = row.get_ref(column)? != ValueRef::Null;
                    no_strays(filled, "a caller without an environment has what belongs to one")?;
                }
                return Ok(CallerRow { id: id_of_caller, uid, registration: None });
            }
            let registration = CallerRegistration {
                environment: id(row, 2, "the environment")?,
                identities: take(&mut identities, uid, "identity")?,
                groups: take_ids(&mut memberships, uid, "group", "the group")?,
                roles: take(&mut memberships, uid, "role")?,
                rings: take_ids(&mut memberships, uid, "key_ring", "the key ring id")?,
                attributes: attributes.remove(&uid).unwrap_or_default(),
                required_factors: take(&mut memberships, uid, "required_factor")?,
                limits: CallerLimits {
                    pace: Pace { per_second: row.get(8)?, burst: row.get(9)?, concurrent: row.get(10)? },
                    usage: UsageLimits { total: optional_count(row, 11)?, daily: optional_count(row, 12)? },
                },
                state: parsed(row, 3, str::parse)?,
                created: time(row, 4)?,
                updated: time(row, 5)?,
                state_changed: time(row, 6)?,
                request_id: row.get(7)?,
            };
            Ok(CallerRow { id: id_of_caller, uid, registration: Some(registration) })
        })?
        .collect();
    let left = !identities.is_empty() || !memberships.is_empty() || !attributes.is_empty();
    no_strays(left, "an identity, a membership or an attribute belongs to no caller")?;
    callers
}

pub(super) fn api_keys(connection: &Connection) -> rusqlite::Result<Vec<ApiKeyRow>> {
    let mut scopes = words(connection, "SELECT key_uid, kind, value FROM api_key_scopes")?;
    let mut statement = connection.prepare_cached(
        "SELECT uid, id, caller_uid, secret_hmac, access, created, expires, revoked, replaced_by, request_id
         FROM api_keys ORDER BY id",
    )?;
    let keys = statement
        .query_map([], |row| {
            let key = uid(row, 0)?;
            Ok(ApiKeyRow {
                uid: key,
                id: parsed(row, 1, str::parse)?,
                caller_uid: uid(row, 2)?,
                secret_hmac: row.get(3)?,
                scope: ApiKeyScope {
                    access: parsed(row, 4, str::parse)?,
                    actions: take(&mut scopes, key, "action")?,
                    rings: take_ids(&mut scopes, key, "key_ring", "the key ring id")?,
                    networks: take(&mut scopes, key, "network")?,
                },
                created: time(row, 5)?,
                expires: time(row, 6)?,
                revoked: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_unix_micros),
                replaced_by: row.get::<_, Option<[u8; 16]>>(8)?.map(Uid::from_bytes),
                request_id: row.get(9)?,
            })
        })?
        .collect();
    no_strays(!scopes.is_empty(), "a scope belongs to no API key")?;
    keys
}

pub(super) fn api_key_uses(connection: &Connection) -> rusqlite::Result<BTreeMap<Uid, Timestamp>> {
    let mut statement = connection.prepare_cached("SELECT key_uid, used FROM api_key_uses")?;
    statement.query_map([], |row| Ok((uid(row, 0)?, time(row, 1)?)))?.collect()
}

//! Writing rows of the state.

use super::{callers, failed, to_sql, wrote_one};
use crate::{KeyRingRow, KeyRow, KeyVersionRow, PolicySetRow, RowChange, StoreError};
use chancery_model::{KeyRules, KeyState, Pace, Timestamp, Uid, UsageLimits, VersionLife};
use rusqlite::{Connection, Params, params};

/// Writes or removes one row.
pub(crate) fn apply(connection: &Connection, change: &RowChange) -> Result<(), StoreError> {
    match change {
        RowChange::PutKey(row) => put_key(connection, row),
        RowChange::PutKeyVersion(row) => put_key_version(connection, row),
        RowChange::PutKeyRing(row) => put_key_ring(connection, row),
        RowChange::PutCaller(row) => callers::put_caller(connection, row),
        RowChange::PutApiKey(row) => callers::put_api_key(connection, row),
        RowChange::PutPolicySet(row) => put_policy_set(connection, row),
        RowChange::DeleteKey(uid) => delete(connection, "DELETE FROM keys WHERE uid = ?1", "removing a key", uid),
        RowChange::DeleteKeyVersion(uid) => {
            delete(connection, "DELETE FROM key_versions WHERE uid = ?1", "removing a key version", uid)
        }
    }
}

fn put_key(connection: &Connection, row: &KeyRow) -> Result<(), StoreError> {
    const DOING: &str = "writing a key";
    let KeyRow {
        uid,
        name,
        algorithm,
        allow_digest,
        labels,
        max_jwt_lifetime_seconds,
        rules,
        primary_version,
        created,
        updated,
        request_id,
    } = row;
    let KeyRules {
        owner,
        deletion_protection,
        rotation_period_seconds,
        next_rotation,
        publish_ahead_seconds,
        signing_period_seconds,
        limits: UsageLimits { total, daily },
        pace: Pace { per_second, burst, concurrent },
        requires_caller_signature,
    } = rules;
    let limit = |limit: &Option<u64>| limit.map(|count| to_sql(count, "a limit of signatures")).transpose();
    put(
        connection,
        "INSERT INTO keys
             (uid, ring, key, algorithm, allow_digest, primary_version, created, updated, request_id, max_jwt_lifetime,
              owner, deletion_protection, rotation_period, next_rotation, publish_ahead, signing_period, max_signatures,
              max_daily_signatures, max_uses_per_second, max_burst, max_concurrent_uses, requires_caller_signature)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)
         ON CONFLICT (uid) DO UPDATE SET
             ring = excluded.ring, key = excluded.key, algorithm = excluded.algorithm,
             allow_digest = excluded.allow_digest, primary_version = excluded.primary_version,
             created = excluded.created, updated = excluded.updated, request_id = excluded.request_id,
             max_jwt_lifetime = excluded.max_jwt_lifetime, owner = excluded.owner,
             deletion_protection = excluded.deletion_protection, rotation_period = excluded.rotation_period,
             next_rotation = excluded.next_rotation, publish_ahead = excluded.publish_ahead,
             signing_period = excluded.signing_period, max_signatures = excluded.max_signatures,
             max_daily_signatures = excluded.max_daily_signatures, max_uses_per_second = excluded.max_uses_per_second,
             max_burst = excluded.max_burst, max_concurrent_uses = excluded.max_concurrent_uses,
             requires_caller_signature = excluded.requires_caller_signature",
        params![
            uid.as_bytes(),
            name.ring.as_str(),
            name.key.as_str(),
            algorithm.as_str(),
            allow_digest,
            primary_version,
            created.unix_micros(),
            updated.unix_micros(),
            request_id,
            max_jwt_lifetime_seconds,
            owner,
            deletion_protection,
            rotation_period_seconds,
            next_rotation.map(Timestamp::unix_micros),
            publish_ahead_seconds,
            signing_period_seconds,
            limit(total)?,
            limit(daily)?,
            per_second,
            burst,
            concurrent,
            requires_caller_signature,
        ],
        DOING,
    )?;
    execute(connection, "DELETE FROM key_labels WHERE key_uid = ?1", [uid.as_bytes()], DOING)?;
    for (label, value) in labels {
        put(
            connection,
            "INSERT INTO key_labels (key_uid, name, value) VALUES (?1, ?2, ?3)",
            params![uid.as_bytes(), label, value],
            DOING,
        )?;
    }
    Ok(())
}

fn put_key_version(connection: &Connection, row: &KeyVersionRow) -> Result<(), StoreError> {
    const DOING: &str = "writing a key version";
    let KeyVersionRow {
        uid,
        key_uid,
        version,
        state,
        spki_der,
        created,
        generated,
        state_changed,
        life,
        adoption,
        request_id,
    } = row;
    let VersionLife { activation, compromised, destroy_at, before_destruction, certificates } = life;
    put(
        connection,
        "INSERT INTO key_versions
             (uid, key_uid, version, state, spki_der, created, generated, state_changed, request_id, activation,
              compromised, destroy_at, before_destruction, token_id, imported, extractable)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         ON CONFLICT (uid) DO UPDATE SET
             key_uid = excluded.key_uid, version = excluded.version, state = excluded.state,
             spki_der = excluded.spki_der, created = excluded.created, generated = excluded.generated,
             state_changed = excluded.state_changed, request_id = excluded.request_id,
             activation = excluded.activation, compromised = excluded.compromised, destroy_at = excluded.destroy_at,
             before_destruction = excluded.before_destruction, token_id = excluded.token_id,
             imported = excluded.imported, extractable = excluded.extractable",
        params![
            uid.as_bytes(),
            key_uid.as_bytes(),
            version,
            state.as_str(),
            spki_der,
            created.unix_micros(),
            generated.map(Timestamp::unix_micros),
            state_changed.unix_micros(),
            request_id,
            activation.map(Timestamp::unix_micros),
            compromised.map(Timestamp::unix_micros),
            destroy_at.map(Timestamp::unix_micros),
            before_destruction.map(KeyState::as_str),
            adoption.as_ref().map(|adoption| adoption.object_id.as_bytes()),
            adoption.as_ref().map(|adoption| adoption.imported),
            adoption.as_ref().map(|adoption| adoption.extractable),
        ],
        DOING,
    )?;
    execute(connection, "DELETE FROM key_version_certificates WHERE version_uid = ?1", [uid.as_bytes()], DOING)?;
    for (position, der) in (0_i64..).zip(certificates) {
        put(
            connection,
            "INSERT INTO key_version_certificates (version_uid, position, der) VALUES (?1, ?2, ?3)",
            params![uid.as_bytes(), position, der],
            DOING,
        )?;
    }
    Ok(())
}

fn put_key_ring(connection: &Connection, row: &KeyRingRow) -> Result<(), StoreError> {
    let KeyRingRow { uid, name, state, state_changed, reason } = row;
    put(
        connection,
        "INSERT INTO key_rings (uid, ring, state, state_changed, reason) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (uid) DO UPDATE SET
             ring = excluded.ring, state = excluded.state, state_changed = excluded.state_changed,
             reason = excluded.reason",
        params![uid.as_bytes(), name.ring.as_str(), state.as_str(), state_changed.unix_micros(), reason],
        "writing the state of a key ring",
    )
}

fn put_policy_set(connection: &Connection, row: &PolicySetRow) -> Result<(), StoreError> {
    const DOING: &str = "writing a policy set";
    let PolicySetRow { version, hash, documents, applied, applied_by } = row;
    let version = to_sql(*version, "the version of a policy set")?;
    put(
        connection,
        "INSERT INTO policy_sets (version, hash, applied, applied_by) VALUES (?1, ?2, ?3, ?4)",
        params![version, hash, applied.unix_micros(), applied_by],
        DOING,
    )?;
    for (position, document) in (0_i64..).zip(documents) {
        put(
            connection,
            "INSERT INTO policy_documents (version, position, name, text) VALUES (?1, ?2, ?3, ?4)",
            params![version, position, document.name, document.text],
            DOING,
        )?;
    }
    Ok(())
}

fn delete(connection: &Connection, sql: &str, doing: &'static str, uid: &Uid) -> Result<(), StoreError> {
    execute(connection, sql, [uid.as_bytes()], doing)
}

/// Writes one row, new or in the place of the one before.
pub(super) fn put(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    doing: &'static str,
) -> Result<(), StoreError> {
    let written =
        connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(failed(doing))?;
    wrote_one(written, doing)
}

pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    doing: &'static str,
) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(failed(doing))?;
    Ok(())
}

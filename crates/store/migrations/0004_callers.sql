-- Callers are registered here, no longer in the configuration alone. A row whose environment is NULL was written by an
-- earlier version, which kept only ids and uids: its caller is taken from the configuration at the next start.
ALTER TABLE callers ADD COLUMN environment   TEXT;
ALTER TABLE callers ADD COLUMN state         TEXT;
ALTER TABLE callers ADD COLUMN created       INTEGER;
ALTER TABLE callers ADD COLUMN updated       INTEGER;
ALTER TABLE callers ADD COLUMN state_changed INTEGER;
ALTER TABLE callers ADD COLUMN request_id    TEXT;

-- An identity belongs to one caller.
CREATE TABLE caller_identities (
    identity   TEXT PRIMARY KEY NOT NULL,
    caller_uid BLOB NOT NULL REFERENCES callers (uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX caller_identities_by_caller ON caller_identities (caller_uid);

CREATE TABLE caller_memberships (
    caller_uid BLOB NOT NULL REFERENCES callers (uid),
    kind       TEXT NOT NULL CHECK (kind IN ('group', 'role', 'key_ring', 'required_factor')),
    value      TEXT NOT NULL,
    PRIMARY KEY (caller_uid, kind, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE caller_attributes (
    caller_uid BLOB NOT NULL REFERENCES callers (uid),
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (caller_uid, name)
) STRICT, WITHOUT ROWID;

-- API keys. Of the secret there is only its HMAC-SHA256, under a key that is in no database.
CREATE TABLE api_keys (
    uid         BLOB    PRIMARY KEY NOT NULL CHECK (length(uid) = 16),
    id          TEXT    NOT NULL UNIQUE,
    caller_uid  BLOB    NOT NULL REFERENCES callers (uid) DEFERRABLE INITIALLY DEFERRED,
    secret_hmac BLOB    NOT NULL CHECK (length(secret_hmac) = 32),
    access      TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    revoked     INTEGER,
    replaced_by BLOB    CHECK (length(replaced_by) = 16),
    request_id  TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_caller ON api_keys (caller_uid);

CREATE TABLE api_key_scopes (
    key_uid BLOB NOT NULL REFERENCES api_keys (uid),
    kind    TEXT NOT NULL CHECK (kind IN ('action', 'key_ring', 'network')),
    value   TEXT NOT NULL,
    PRIMARY KEY (key_uid, kind, value)
) STRICT, WITHOUT ROWID;

-- When an API key was used last, to about a minute. No part of the state: it raises no epoch.
CREATE TABLE api_key_uses (
    key_uid BLOB    PRIMARY KEY NOT NULL REFERENCES api_keys (uid),
    used    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

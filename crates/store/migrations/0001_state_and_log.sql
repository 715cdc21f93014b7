-- State and log in one file: a change and its record are one transaction.
-- Times are microseconds since 1970-01-01T00:00:00Z. Uids are 16 bytes.

-- One row: where state and log stand. Every record takes its index here, every change raises the epoch here,
-- so the two cannot pass each other.
CREATE TABLE head (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    epoch      INTEGER NOT NULL,
    next_index INTEGER NOT NULL
) STRICT;
INSERT INTO head (id, epoch, next_index) VALUES (1, 1, 0);

CREATE TABLE keys (
    uid             BLOB    PRIMARY KEY NOT NULL CHECK (length(uid) = 16),
    ring            TEXT    NOT NULL,
    key             TEXT    NOT NULL,
    algorithm       TEXT    NOT NULL,
    allow_digest    INTEGER NOT NULL CHECK (allow_digest IN (0, 1)),
    primary_version INTEGER,
    created         INTEGER NOT NULL,
    updated         INTEGER NOT NULL,
    request_id      TEXT,
    UNIQUE (ring, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_labels (
    key_uid BLOB NOT NULL REFERENCES keys (uid) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (key_uid, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_versions (
    uid           BLOB    PRIMARY KEY NOT NULL CHECK (length(uid) = 16),
    key_uid       BLOB    NOT NULL REFERENCES keys (uid) DEFERRABLE INITIALLY DEFERRED,
    version       INTEGER NOT NULL CHECK (version >= 1),
    state         TEXT    NOT NULL,
    spki_der      BLOB,
    created       INTEGER NOT NULL,
    generated     INTEGER,
    state_changed INTEGER NOT NULL,
    request_id    TEXT,
    UNIQUE (key_uid, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE callers (
    uid BLOB PRIMARY KEY NOT NULL CHECK (length(uid) = 16),
    id  TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE policy_sets (
    version    INTEGER PRIMARY KEY CHECK (version >= 1),
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    applied    INTEGER NOT NULL,
    applied_by TEXT    NOT NULL
) STRICT;

CREATE TABLE policy_documents (
    version  INTEGER NOT NULL REFERENCES policy_sets (version),
    position INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    PRIMARY KEY (version, position)
) STRICT;

-- The log. A leaf is final.
CREATE TABLE leaves (
    idx  INTEGER PRIMARY KEY,
    leaf BLOB    NOT NULL
) STRICT;

CREATE TRIGGER leaves_are_not_changed BEFORE UPDATE ON leaves
BEGIN SELECT RAISE(ABORT, 'a leaf is final'); END;
CREATE TRIGGER leaves_are_not_removed BEFORE DELETE ON leaves
BEGIN SELECT RAISE(ABORT, 'a leaf is final'); END;

-- Beside it what can be erased without touching the leaf: the details, the salt of the leaf's commitment to
-- them, and the columns by which records are found.
CREATE TABLE details (
    idx      INTEGER PRIMARY KEY REFERENCES leaves (idx),
    salt     BLOB    NOT NULL CHECK (length(salt) = 32),
    content  BLOB    NOT NULL,
    time     INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    caller   TEXT,
    resource TEXT,
    key      TEXT,    -- the key's name, where the resource is a key or a version of one
    action   TEXT,
    decision INTEGER
) STRICT;
CREATE INDEX details_by_time ON details (time);
CREATE INDEX details_by_caller ON details (caller) WHERE caller IS NOT NULL;
CREATE INDEX details_by_key ON details (key) WHERE key IS NOT NULL;

-- Records that wait for their outcome. A row goes with the outcome, in its transaction.
CREATE TABLE open_intents (
    idx      INTEGER PRIMARY KEY REFERENCES leaves (idx),
    instance TEXT    NOT NULL,
    act      INTEGER NOT NULL CHECK (act IN (0, 1))
) STRICT;

-- How each of them ended: which leaf says so, and the result's code in it.
CREATE TABLE outcomes (
    intent INTEGER PRIMARY KEY REFERENCES leaves (idx),
    idx    INTEGER NOT NULL REFERENCES leaves (idx),
    result INTEGER NOT NULL
) STRICT;

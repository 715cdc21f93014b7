-- What a key's administrators lay down for it: NULL, or 0, where nothing is. Periods are in seconds.
ALTER TABLE keys ADD COLUMN owner TEXT;
ALTER TABLE keys ADD COLUMN deletion_protection INTEGER NOT NULL DEFAULT 0 CHECK (deletion_protection IN (0, 1));
ALTER TABLE keys ADD COLUMN rotation_period INTEGER CHECK (rotation_period >= 1);
ALTER TABLE keys ADD COLUMN next_rotation INTEGER;
ALTER TABLE keys ADD COLUMN publish_ahead INTEGER CHECK (publish_ahead >= 1);
ALTER TABLE keys ADD COLUMN signing_period INTEGER CHECK (signing_period >= 1);
ALTER TABLE keys ADD COLUMN max_signatures INTEGER CHECK (max_signatures >= 1);
ALTER TABLE keys ADD COLUMN max_daily_signatures INTEGER CHECK (max_daily_signatures >= 1);

-- The times of a version's life beside those that it had already.
ALTER TABLE key_versions ADD COLUMN activation INTEGER;
ALTER TABLE key_versions ADD COLUMN compromised INTEGER;
ALTER TABLE key_versions ADD COLUMN destroy_at INTEGER;
ALTER TABLE key_versions ADD COLUMN before_destruction TEXT;

-- The certificates of a version: the leaf at position 0, then each one's issuer.
CREATE TABLE key_version_certificates (
    version_uid BLOB    NOT NULL REFERENCES key_versions (uid) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    der         BLOB    NOT NULL,
    PRIMARY KEY (version_uid, position)
) STRICT, WITHOUT ROWID;

-- How many signatures a key with a limit has made: in all, and on one day (days since 1970-01-01, UTC). Written with the
-- intents, in their transaction. Not part of the state: it does not raise the epoch.
CREATE TABLE key_usage (
    key_uid        BLOB    PRIMARY KEY NOT NULL REFERENCES keys (uid) ON DELETE CASCADE,
    signatures     INTEGER NOT NULL,
    day            INTEGER NOT NULL,
    day_signatures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How fast a key is used: uses in a second, at once, and under way at the same time. NULL where nothing is laid down.
ALTER TABLE keys ADD COLUMN max_uses_per_second INTEGER CHECK (max_uses_per_second >= 1);
ALTER TABLE keys ADD COLUMN max_burst           INTEGER CHECK (max_burst >= 1);
ALTER TABLE keys ADD COLUMN max_concurrent_uses INTEGER CHECK (max_concurrent_uses >= 1);

-- What a caller may take of the service. NULL: what everybody may.
ALTER TABLE callers ADD COLUMN max_uses_per_second  INTEGER CHECK (max_uses_per_second >= 1);
ALTER TABLE callers ADD COLUMN max_burst            INTEGER CHECK (max_burst >= 1);
ALTER TABLE callers ADD COLUMN max_concurrent_calls INTEGER CHECK (max_concurrent_calls >= 1);
ALTER TABLE callers ADD COLUMN max_signatures       INTEGER CHECK (max_signatures >= 1);
ALTER TABLE callers ADD COLUMN max_daily_signatures INTEGER CHECK (max_daily_signatures >= 1);

-- How many signatures were made for a caller with a limit: as key_usage.
CREATE TABLE caller_usage (
    caller_uid     BLOB    PRIMARY KEY NOT NULL REFERENCES callers (uid) ON DELETE CASCADE,
    signatures     INTEGER NOT NULL,
    day            INTEGER NOT NULL,
    day_signatures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

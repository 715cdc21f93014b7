-- Key rings are declared in the configuration. A row is here from when the ring was first frozen: its state, and why.
CREATE TABLE key_rings (
    uid           BLOB    PRIMARY KEY NOT NULL CHECK (length(uid) = 16),
    ring          TEXT    NOT NULL UNIQUE,
    state         TEXT    NOT NULL,
    state_changed INTEGER NOT NULL,
    reason        TEXT
) STRICT, WITHOUT ROWID;

-- Of a version that was in the token before it was managed: its CKA_ID there, which otherwise is the uid; whether it was made
-- elsewhere and imported; and whether a copy of it may be outside. All three are NULL where Chancery made it.
ALTER TABLE key_versions ADD COLUMN token_id BLOB CHECK (length(token_id) BETWEEN 1 AND 64);
ALTER TABLE key_versions ADD COLUMN imported INTEGER CHECK (imported IN (0, 1));
ALTER TABLE key_versions ADD COLUMN extractable INTEGER CHECK (extractable IN (0, 1));

-- The Merkle tree over the leaves (docs/transparency-log.md): each whole tile of 256 hashes, and of every level above the
-- lowest the tile that is not whole yet. The lowest one's hashes are those of leaves, which are there already.
CREATE TABLE tiles (
    level  INTEGER NOT NULL CHECK (level BETWEEN 0 AND 7),
    idx    INTEGER NOT NULL CHECK (idx >= 0),
    hashes BLOB    NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    PRIMARY KEY (level, idx)
) STRICT;

-- What the log said of itself, signed: one for each size, the newest with the highest.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY CHECK (size >= 0),
    time INTEGER NOT NULL,
    note TEXT    NOT NULL
) STRICT;

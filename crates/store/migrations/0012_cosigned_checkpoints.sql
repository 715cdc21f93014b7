-- Checkpoints with the cosignatures of witnesses that they need to count (docs/transparency-log.md), kept as those without:
-- the first of each hour, and the newest.
CREATE TABLE cosigned_checkpoints (
    size INTEGER PRIMARY KEY CHECK (size >= 0),
    time INTEGER NOT NULL,
    note TEXT    NOT NULL
) STRICT;

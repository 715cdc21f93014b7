-- The newest checkpoint that ever counted (docs/transparency-log.md): what others were shown, and are shown until a larger
-- one counts, whatever the settings have been since.
CREATE TABLE shown_checkpoint (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL CHECK (size >= 0),
    time INTEGER NOT NULL,
    note TEXT    NOT NULL
) STRICT;

INSERT INTO shown_checkpoint SELECT 1, size, time, note FROM cosigned_checkpoints ORDER BY size DESC LIMIT 1;

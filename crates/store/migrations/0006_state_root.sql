-- What the state is held to (docs/state-root.md): which database this is, one hash over all rows of the state, and a MAC of
-- both and the epoch, by a key that is in no database. NULL until the state is sealed for the first time.
ALTER TABLE head ADD COLUMN database_id BLOB CHECK (length(database_id) = 16);
ALTER TABLE head ADD COLUMN state_root  BLOB CHECK (length(state_root) = 32);
ALTER TABLE head ADD COLUMN state_mac   BLOB CHECK (length(state_mac) = 32);
UPDATE head SET database_id = randomblob(16);

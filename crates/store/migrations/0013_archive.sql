-- How many leaves, from the first on, are in the archive (docs/audit-record.md, "The archive"): whole tiles of 256, and never
-- fewer than before.
CREATE TABLE archive (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    leaves INTEGER NOT NULL CHECK (leaves >= 0 AND leaves % 256 = 0)
) STRICT;
INSERT INTO archive (id, leaves) VALUES (1, 0);

CREATE TRIGGER archive_only_grows BEFORE UPDATE ON archive WHEN NEW.id <> OLD.id OR NEW.leaves < OLD.leaves
BEGIN SELECT RAISE(ABORT, 'what is archived stays archived'); END;
CREATE TRIGGER archive_is_not_removed BEFORE DELETE ON archive
BEGIN SELECT RAISE(ABORT, 'what is archived stays archived'); END;

-- A leaf stays final, but for this: one that is archived, and waits for nothing, is emptied. Its row stays; being empty it may be
-- taken out and put back, without which SQLite would not give back the room.
DROP TRIGGER leaves_are_not_changed;
DROP TRIGGER leaves_are_not_removed;
CREATE TRIGGER leaves_are_not_changed BEFORE UPDATE ON leaves
WHEN NOT (
    NEW.idx = OLD.idx AND length(NEW.leaf) = 0
    AND OLD.idx < coalesce((SELECT leaves FROM archive WHERE id = 1), 0)
    AND NOT EXISTS (SELECT 1 FROM open_intents WHERE idx = OLD.idx)
)
BEGIN SELECT RAISE(ABORT, 'a leaf is final'); END;
CREATE TRIGGER leaves_are_not_removed BEFORE DELETE ON leaves
WHEN NOT (length(OLD.leaf) = 0 AND OLD.idx < coalesce((SELECT leaves FROM archive WHERE id = 1), 0))
BEGIN SELECT RAISE(ABORT, 'a leaf is final'); END;

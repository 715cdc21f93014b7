-- By what the record is searched besides, kept and erased with the details: the first 16 bytes of the digest of what is
-- signed, and the 16 bytes of the trace id. Older records get them step by step: record_search_backfill.
ALTER TABLE details ADD COLUMN digest BLOB;
ALTER TABLE details ADD COLUMN trace_id BLOB;

-- What a resource is in: the first two segments of its name, a key ring or a caller; computed from the name, not stored.
ALTER TABLE details ADD COLUMN root TEXT GENERATED ALWAYS AS (
    substr(resource, 1, instr(resource, '/') + instr(substr(resource, instr(resource, '/') + 1) || '/', '/') - 1)
) VIRTUAL;

-- Times follow the indexes nearly, never exactly: clocks are set, a refusal has the time of its second. So an index by
-- time gives no order by index. Instead: the earliest and the latest time of each block of 4,096 records.
CREATE TABLE record_times (
    block    INTEGER PRIMARY KEY,
    earliest INTEGER NOT NULL,
    latest   INTEGER NOT NULL
) STRICT;
INSERT INTO record_times (block, earliest, latest)
    SELECT idx >> 12, min(time), max(time) FROM details GROUP BY idx >> 12;
DROP INDEX details_by_time;

-- Every index ends with the record's index, so that what it finds comes in the record's order. Signatures pay for
-- caller, key, root, action, digest and (where there is one) trace id; for the others only what is rare.
CREATE INDEX details_by_root     ON details (root)     WHERE root IS NOT NULL;
CREATE INDEX details_by_action   ON details (action)   WHERE action IS NOT NULL;
CREATE INDEX details_by_kind     ON details (kind)     WHERE kind >= 3;     -- neither intents nor outcomes
CREATE INDEX details_by_decision ON details (decision) WHERE decision >= 2; -- what was not allowed

-- Digests and trace ids are random: in one index each would change a page of its own, and every group of signatures write
-- some hundred pages more. So each block has its part of the index: new ones come to a few pages at its end, and a search
-- looks into each block.
CREATE INDEX details_by_digest ON details (idx >> 12, digest)   WHERE digest IS NOT NULL;
CREATE INDEX details_by_trace  ON details (idx >> 12, trace_id) WHERE trace_id IS NOT NULL;

-- Records whose digest and trace id are still to be read from their details: from `next` on, below `until`. No row: none.
CREATE TABLE record_search_backfill (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    next  INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;
INSERT INTO record_search_backfill (id, next, until) SELECT 1, 0, next_index FROM head WHERE next_index > 0;

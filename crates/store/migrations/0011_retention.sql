-- Records whose details were erased, and which record says so. The row of the details goes with what was in it; this is what
-- tells an erasure that is on the record from a row that somebody removed.
CREATE TABLE erased (
    idx INTEGER PRIMARY KEY REFERENCES leaves (idx),
    act INTEGER NOT NULL REFERENCES leaves (idx)
) STRICT;

-- Details that were emptied, and whose rows are still there: few, and for a moment, unless the service stopped in between.
CREATE INDEX details_emptied ON details (idx) WHERE length(content) = 0;

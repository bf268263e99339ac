-- Events that an execution has still to take, in order: taking them costs more than may be done on
-- the writer, or they came after one that does. `seq` counts up within an execution.
CREATE TABLE workflow_inbox (
    execution INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    event     TEXT NOT NULL,
    PRIMARY KEY (execution, seq)
) STRICT, WITHOUT ROWID;

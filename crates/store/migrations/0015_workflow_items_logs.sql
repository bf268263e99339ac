-- Items in the input of a child of a map run: several where they are batched.
ALTER TABLE workflow_map_items ADD COLUMN items INTEGER NOT NULL DEFAULT 1;

-- The last lines that a worker's command wrote before its task failed, by the event that says that the
-- task was scheduled. They are no part of the history: clients of Step Functions do not know them.
CREATE TABLE workflow_task_logs (
    execution INTEGER NOT NULL,
    event     INTEGER NOT NULL,
    lines     TEXT NOT NULL,
    PRIMARY KEY (execution, event)
) STRICT, WITHOUT ROWID;

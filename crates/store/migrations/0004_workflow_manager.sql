-- What was sent for a version of a workflow's definition: the machine's own text has retries added,
-- and a name may be one that no machine may have. `body` JSON.
CREATE TABLE workflow_definitions (
    machine INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (machine, number)
) STRICT, WITHOUT ROWID;

-- What belongs to an execution that was started by the workflow manager's API, by its id there;
-- `retry_for` is the execution it goes on for.
CREATE TABLE workflow_runs (
    execution INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    retry_for INTEGER,
    body      TEXT NOT NULL
) STRICT;
CREATE INDEX workflow_runs_retry_for ON workflow_runs (retry_for) WHERE retry_for IS NOT NULL;

-- Executions that somebody has dealt with. It holds for an end at or before `at`: one that is
-- redriven and fails again is unresolved again.
CREATE TABLE workflow_resolutions (
    execution INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    by        TEXT NOT NULL
) STRICT;

CREATE TABLE workflow_state_resources (
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    uri        TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

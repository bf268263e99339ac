-- Workflows. Instants are microseconds since 1970, `body` JSON. ARNs are not stored where a row
-- can be found by number: a machine has one name, an execution belongs to a machine.

-- A deleted machine keeps its row while executions refer to it; its name is free again.
CREATE TABLE workflow_machines (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    region     TEXT NOT NULL,
    type       TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX workflow_machines_name ON workflow_machines (name) WHERE deleted_at IS NULL;
CREATE INDEX workflow_machines_deleted ON workflow_machines (name, id);

-- What a machine was at one time: definition, role, settings. Never changes; executions and
-- versions refer to it, so an execution keeps the definition it was started with.
CREATE TABLE workflow_revisions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    machine     INTEGER NOT NULL,
    revision_id TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    definition  TEXT NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE INDEX workflow_revisions_machine ON workflow_revisions (machine, id);

CREATE TABLE workflow_versions (
    machine    INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    body       TEXT NOT NULL,
    PRIMARY KEY (machine, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflow_aliases (
    machine INTEGER NOT NULL,
    name    TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (machine, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflow_activities (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    region     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;

CREATE TABLE workflow_tags (
    resource TEXT NOT NULL,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (resource, key)
) STRICT, WITHOUT ROWID;

-- `kind` is standard, express, sync or child (of a map run). `rev` grows with each change: a writer
-- shows the one it read. `body` holds facts that are not searched for; `state` is the interpreter's,
-- null once nothing can continue from it. `live` is 1 while the execution may still step.
CREATE TABLE workflow_executions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    machine    INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    status     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    stopped_at INTEGER,
    map_run    INTEGER,
    rev        INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    body       TEXT NOT NULL,
    state      TEXT
) STRICT;
CREATE UNIQUE INDEX workflow_executions_name ON workflow_executions (machine, name);
CREATE INDEX workflow_executions_status ON workflow_executions (machine, status, id)
    WHERE map_run IS NULL;
CREATE INDEX workflow_executions_map_run ON workflow_executions (map_run, status, id)
    WHERE map_run IS NOT NULL;
CREATE INDEX workflow_executions_open ON workflow_executions (id) WHERE status = 'RUNNING';
CREATE INDEX workflow_executions_stopped ON workflow_executions (stopped_at)
    WHERE stopped_at IS NOT NULL;
CREATE INDEX workflow_executions_sync ON workflow_executions (id) WHERE kind = 'sync';

-- Events of one step in one row, by the number of the first; numbers are contiguous from 1.
CREATE TABLE workflow_history (
    execution INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    events    TEXT NOT NULL,
    PRIMARY KEY (execution, seq)
) STRICT, WITHOUT ROWID;

-- Long texts of an execution, its history and its tasks, once per execution.
CREATE TABLE workflow_payloads (
    execution INTEGER NOT NULL,
    digest    TEXT NOT NULL,
    text      TEXT NOT NULL,
    PRIMARY KEY (execution, digest)
) STRICT, WITHOUT ROWID;

-- `kind` says whose clock `num` is of: 0 a timer of the interpreter, 1 a task's whole time, 2 a
-- task's heartbeat, 3 the execution's longest time, 4 a step that was cut short.
CREATE TABLE workflow_timers (
    execution INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    num       INTEGER NOT NULL,
    due       INTEGER NOT NULL,
    PRIMARY KEY (execution, kind, num)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_timers_due ON workflow_timers (due);

-- Work outside of the interpreter, by the interpreter's number for it. `queue` is the activity of
-- tasks that workers poll; `phase` is ready, handed, or waiting (for a callback or a child).
CREATE TABLE workflow_tasks (
    execution    INTEGER NOT NULL,
    task         INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    phase        TEXT NOT NULL,
    queue        INTEGER,
    machine      INTEGER NOT NULL,
    priority     INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    handed_at    INTEGER,
    confirmed    INTEGER NOT NULL,
    heartbeat_s  INTEGER,
    input        TEXT NOT NULL,
    body         TEXT NOT NULL,
    PRIMARY KEY (execution, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_tasks_ready ON workflow_tasks (queue, priority DESC, machine, scheduled_at)
    WHERE phase = 'ready' AND queue IS NOT NULL;
CREATE INDEX workflow_tasks_outbound ON workflow_tasks (scheduled_at)
    WHERE phase = 'ready' AND queue IS NULL;

-- `num` is the interpreter's number for the run within its execution. `busy` is 1 while the
-- runtime has something to do for it: read items, start children, abort them, write results.
CREATE TABLE workflow_map_runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    execution  INTEGER NOT NULL,
    num        INTEGER NOT NULL,
    uuid       TEXT NOT NULL UNIQUE,
    started_at INTEGER NOT NULL,
    stopped_at INTEGER,
    busy       INTEGER NOT NULL,
    request    TEXT NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX workflow_map_runs_execution ON workflow_map_runs (execution, num);
CREATE INDEX workflow_map_runs_busy ON workflow_map_runs (id) WHERE busy = 1;

-- Inputs of the children of a map run, and what became of them: phase is pending, running,
-- succeeded or failed.
CREATE TABLE workflow_map_items (
    map_run   INTEGER NOT NULL,
    idx       INTEGER NOT NULL,
    phase     TEXT NOT NULL,
    execution INTEGER,
    input     TEXT NOT NULL,
    result    TEXT,
    PRIMARY KEY (map_run, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_map_items_phase ON workflow_map_items (map_run, phase, idx);

CREATE TABLE workflow_schedules (
    name    TEXT PRIMARY KEY,
    next_at INTEGER,
    body    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_schedules_next ON workflow_schedules (next_at) WHERE next_at IS NOT NULL;

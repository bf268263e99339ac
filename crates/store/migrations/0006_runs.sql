-- Runs of work that ends, and what is remembered of schedules. `fired_at` is the instant of the
-- schedule that a run stands for: no two runs of an app stand for the same one.

CREATE TABLE runs (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    env      TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app      TEXT NOT NULL,
    number   INTEGER NOT NULL,
    fired_at INTEGER,
    active   INTEGER NOT NULL,
    body     TEXT NOT NULL,
    UNIQUE (env, app, number)
) STRICT;
CREATE UNIQUE INDEX runs_fired ON runs (env, app, fired_at) WHERE fired_at IS NOT NULL;
CREATE INDEX runs_active ON runs (seq) WHERE active = 1;

-- The instances of runs, so that one that an engine shows is known to belong to a run.
CREATE TABLE run_instances (
    instance TEXT PRIMARY KEY,
    run      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX run_instances_run ON run_instances (run);

-- Tasks of workflows that wait for runs.
CREATE INDEX workflow_tasks_jobs ON workflow_tasks (execution, task)
    WHERE kind = 'job' AND phase = 'waiting';

CREATE TABLE crons (
    env  TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app  TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (env, app)
) STRICT, WITHOUT ROWID;

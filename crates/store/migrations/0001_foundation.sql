-- The first schema. Instants are microseconds since 1970, digests and ids lower-case hex text,
-- `body` the JSON of the model's struct. Columns beside `body` are what rows are found by, and
-- always agree with it.

-- Numbers that only grow (generation, fencing token, port cursor), and the epoch.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE environments (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE apps (
    env  TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app  TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (env, app)
) STRICT, WITHOUT ROWID;

-- The last number given to a release or configuration version: a number is never given twice,
-- even when what had it was deleted.
CREATE TABLE numbers (
    env  TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app  TEXT NOT NULL,
    noun TEXT NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (env, app, noun)
) STRICT, WITHOUT ROWID;

CREATE TABLE releases (
    env      TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app      TEXT NOT NULL,
    number   INTEGER NOT NULL,
    digest   TEXT NOT NULL,
    artifact TEXT,
    body     TEXT NOT NULL,
    PRIMARY KEY (env, app, number),
    UNIQUE (env, app, digest)
) STRICT;
CREATE INDEX releases_artifact ON releases (artifact) WHERE artifact IS NOT NULL;

CREATE TABLE deployments (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    env      TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app      TEXT NOT NULL,
    state    TEXT NOT NULL,
    finished INTEGER NOT NULL,
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX deployments_app ON deployments (env, app, seq);
CREATE INDEX deployments_unfinished ON deployments (seq) WHERE finished = 0;

CREATE TABLE instances (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    env        TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app        TEXT NOT NULL,
    state      TEXT NOT NULL,
    alive      INTEGER NOT NULL,
    stopped_at INTEGER,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX instances_app ON instances (env, app, seq);
CREATE INDEX instances_alive ON instances (env, app, seq) WHERE alive = 1;
CREATE INDEX instances_stopped ON instances (stopped_at) WHERE alive = 0;

-- Ports of instances, and stable ones of routes (`instance` is null). Rows of released ports stay,
-- for the hold, until the port is given again. No foreign keys: a port outlives what had it.
CREATE TABLE ports (
    port         INTEGER PRIMARY KEY,
    instance     TEXT,
    env          TEXT,
    app          TEXT,
    expose       TEXT,
    allocated_at INTEGER NOT NULL,
    released_at  INTEGER
) STRICT;
CREATE INDEX ports_instance ON ports (instance) WHERE instance IS NOT NULL;
CREATE UNIQUE INDEX ports_route ON ports (env, app, expose)
    WHERE instance IS NULL AND released_at IS NULL;

CREATE TABLE configs (
    env     TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app     TEXT NOT NULL,
    version INTEGER NOT NULL,
    summary TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (env, app, version)
) STRICT;

-- `body` holds what has no column of its own. No foreign keys: events outlive what they speak of.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    env        TEXT,
    app        TEXT,
    deployment TEXT,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX events_app ON events (env, app, seq);
CREATE INDEX events_deployment ON events (deployment, seq) WHERE deployment IS NOT NULL;
CREATE INDEX events_at ON events (at);

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL UNIQUE,
    revoked_at INTEGER,
    body       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tokens_name ON tokens (name) WHERE revoked_at IS NULL;

CREATE TABLE idempotency (
    caller     TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    TEXT NOT NULL,
    status     INTEGER NOT NULL,
    answer     TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires_at);

CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    token      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Lives of gateways: what was last seen of each is kept while it may still be reported.
CREATE TABLE traffic_boots (
    boot    TEXT PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `instance` is empty for requests that reached none.
CREATE TABLE traffic_seen (
    boot        TEXT NOT NULL REFERENCES traffic_boots (boot) ON DELETE CASCADE,
    env         TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app         TEXT NOT NULL,
    expose      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    served      INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    cut         INTEGER NOT NULL,
    retried     INTEGER NOT NULL,
    client_gone INTEGER NOT NULL,
    PRIMARY KEY (boot, env, app, expose, instance)
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_seen_env ON traffic_seen (env);

CREATE TABLE traffic (
    env         TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app         TEXT NOT NULL,
    expose      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    release     INTEGER,
    served      INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    cut         INTEGER NOT NULL,
    retried     INTEGER NOT NULL,
    client_gone INTEGER NOT NULL,
    stall_ms    INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (env, app, expose, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    digest     TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;

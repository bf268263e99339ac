-- Registries of images; passwords are sealed.
CREATE TABLE registries (
    host TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Where Git hosting services tell of pushes, and what they told. A delivery is told of once.
CREATE TABLE push_hooks (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE pushes (
    hook        TEXT NOT NULL REFERENCES push_hooks (name) ON DELETE CASCADE,
    delivery    TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    open        INTEGER NOT NULL CHECK (open IN (0, 1)),
    body        TEXT NOT NULL,
    PRIMARY KEY (hook, delivery)
) STRICT, WITHOUT ROWID;
CREATE INDEX pushes_open ON pushes (received_at) WHERE open = 1;
CREATE INDEX pushes_of_a_hook ON pushes (hook, received_at);

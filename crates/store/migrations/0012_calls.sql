-- Which app was seen calling which: one row per pair, with the first and the last time.
CREATE TABLE calls (
    env        TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app        TEXT NOT NULL,
    to_env     TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    to_app     TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (env, app, to_env, to_app)
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_to ON calls (to_env, env, app);
CREATE INDEX calls_seen ON calls (last_seen);

-- What the gateway measured of apps with a running deployment or an open watch window, in parts as
-- the server writes them. Rows of an app whose deployment is over are replaced by the next one's.
CREATE TABLE measures (
    env  TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app  TEXT NOT NULL,
    part TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (env, app, part)
) STRICT, WITHOUT ROWID;

-- Who gave each value of the newest configuration the form it has: in the version that names it last.
-- `changed_at` is the instant as the summary of that version has it.

CREATE TABLE config_setters (
    env        TEXT NOT NULL REFERENCES environments (name) ON DELETE CASCADE,
    app        TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    changed_at TEXT NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (env, app, name)
) STRICT, WITHOUT ROWID;

WITH
    newest AS (SELECT env, app, max(version) AS version FROM configs GROUP BY env, app),
    present AS MATERIALIZED (
        SELECT c.env AS env, c.app AS app, one.key AS name
        FROM newest JOIN configs AS c USING (env, app, version), json_each(c.body) AS one
    ),
    -- With max(), SQLite takes the other columns from the row that has it.
    last AS MATERIALIZED (
        SELECT c.env AS env, c.app AS app, one.value AS name, max(c.version) AS version,
            json_extract(c.summary, '$.at') AS changed_at,
            json_extract(c.summary, '$.by') AS changed_by
        FROM configs AS c, json_each(c.summary, '$.set') AS one
        GROUP BY c.env, c.app, one.value
    )
INSERT INTO config_setters (env, app, name, version, changed_at, changed_by)
SELECT env, app, name, version, changed_at, changed_by FROM last JOIN present USING (env, app, name);

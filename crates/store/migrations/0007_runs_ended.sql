-- When a run was over, so that the oldest ends are forgotten first. The numbers do not say it: a run
-- that took long has a low one.

ALTER TABLE runs ADD COLUMN ended_at INTEGER;
UPDATE runs SET ended_at = coalesce(unixepoch(body ->> '$.ended_at') * 1000000, 0) WHERE active = 0;
CREATE INDEX runs_ended ON runs (env, app, ended_at) WHERE active = 0;

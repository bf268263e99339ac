-- Events and deployments of an environment, of an app wherever it runs, and events of a kind, in the
-- order of their numbers: each list is read where it begins, and not sorted.

CREATE INDEX events_env ON events (env, seq) WHERE env IS NOT NULL;
CREATE INDEX events_name ON events (app, seq) WHERE app IS NOT NULL;
CREATE INDEX events_kind ON events (kind, seq);

CREATE INDEX deployments_env ON deployments (env, seq);
CREATE INDEX deployments_name ON deployments (app, seq);

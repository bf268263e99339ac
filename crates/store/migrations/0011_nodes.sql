-- The hosts of the cluster beside Ark's own; keys are sealed.
CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was measured of both sides while a deployment ran, for its charts; written with its end.
ALTER TABLE deployments ADD COLUMN traffic TEXT;

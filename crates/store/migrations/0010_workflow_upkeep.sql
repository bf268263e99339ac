-- Tasks of workflows that wait for runs, by the run: what a run's end is still to be told to.
CREATE INDEX workflow_tasks_runs ON workflow_tasks (body ->> '$.run')
    WHERE kind = 'job' AND phase = 'waiting';

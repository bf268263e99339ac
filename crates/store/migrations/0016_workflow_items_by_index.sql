-- Items of children are counted from the index alone: in the table they stand behind inputs and results,
-- which may be long.
DROP INDEX workflow_map_items_phase;
CREATE INDEX workflow_map_items_phase ON workflow_map_items (map_run, phase, idx, items);

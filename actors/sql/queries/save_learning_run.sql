-- Saves a run's figures. $1 run, $2 patterns, $3 rules, $4 thresholds, $5 when. No row: the run is known.
INSERT INTO evolution_learning_runs (run_id, patterns_processed, rules_generated, thresholds_updated, finished_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (run_id) DO NOTHING
RETURNING run_id

-- The figures of run $1. Index: the primary key.
SELECT patterns_processed, rules_generated, thresholds_updated FROM evolution_learning_runs WHERE run_id = $1

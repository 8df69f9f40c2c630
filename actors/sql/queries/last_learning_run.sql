-- When central learned last.
SELECT max(finished_at) FROM evolution_learning_runs

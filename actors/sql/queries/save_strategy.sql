-- Saves the plan $2 for change type $1.
INSERT INTO evolution_strategies (change_type, strategy) VALUES ($1, $2)
ON CONFLICT (change_type) DO UPDATE SET strategy = excluded.strategy, updated_at = clock_timestamp()

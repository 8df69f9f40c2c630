-- The rollback of change $1 was carried out. Answers its strategy's change type and its duration. No row: it was known.
UPDATE evolution_rollbacks SET completed_at = clock_timestamp()
WHERE proposal_id = $1 AND completed_at IS NULL
RETURNING extract(epoch FROM completed_at - triggered_at)::float8 AS seconds

-- consensus_reached -> executing for proposal $1; also executing -> executing, for a run that was cut short.
-- No row: it is in another state, or a rollback was ordered. Index: the primary key.
UPDATE evolution_proposals SET status = 'executing', execution_started_at = clock_timestamp(), baseline = NULL, suspect = '[]', condemned_at = NULL
WHERE proposal_id = $1 AND status IN ('consensus_reached', 'executing') AND rollback_requested_at IS NULL
RETURNING *

-- executing -> applied for proposal $1, with $2 and $3 metrics before and after, $4 ms, and observation until $5.
-- No row: a rollback was ordered meanwhile. Index: the primary key.
UPDATE evolution_proposals SET status = 'applied', metrics_before = $2, metrics_after = $3, execution_time_ms = $4, observed_until = $5,
       execution_completed_at = clock_timestamp()
WHERE proposal_id = $1 AND status = 'executing' AND rollback_requested_at IS NULL
RETURNING proposal_id

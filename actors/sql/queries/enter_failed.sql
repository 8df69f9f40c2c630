-- executing -> failed for proposal $1, with $2 error, $3 and $4 metrics before and after, $5 ms.
-- No row: a rollback was ordered meanwhile. Index: the primary key.
UPDATE evolution_proposals SET status = 'failed', execution_error = $2, metrics_before = $3, metrics_after = $4, execution_time_ms = $5,
       execution_completed_at = clock_timestamp()
WHERE proposal_id = $1 AND status = 'executing' AND rollback_requested_at IS NULL
RETURNING proposal_id

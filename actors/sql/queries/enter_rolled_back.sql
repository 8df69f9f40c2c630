-- executing or applied -> rolled_back for proposal $1, for $2 reason. No row: it was already. Index: the primary key.
UPDATE evolution_proposals SET status = 'rolled_back', rollback_reason = $2, rollback_triggered_at = rollback_requested_at,
       execution_completed_at = coalesce(execution_completed_at, clock_timestamp())
WHERE proposal_id = $1 AND status IN ('executing', 'applied') AND rollback_requested_at IS NOT NULL
RETURNING proposal_id

-- Marks proposal $1 of instance $2, executing or applied, for rollback: from here on no execution of it begins or ends well.
-- No row: there is nothing to take back. Index: the primary key.
UPDATE evolution_proposals SET rollback_requested_at = coalesce(rollback_requested_at, clock_timestamp())
WHERE proposal_id = $1 AND instance_id = $2 AND status IN ('executing', 'applied')
RETURNING *

-- pending or active -> $2 for change $1. No row: it was closed already. Index: the primary key.
UPDATE evolution_approved_changes SET status = $2, closed_at = clock_timestamp()
WHERE proposal_id = $1 AND status IN ('pending', 'active')
RETURNING instance_id

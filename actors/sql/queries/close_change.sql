-- pending or active -> $2 for change $1; also succeeded or expired -> rolled_back, which a person may order later.
-- No row: it was closed already. Index: the primary key.
UPDATE evolution_approved_changes SET status = $2, closed_at = clock_timestamp()
WHERE proposal_id = $1 AND (status IN ('pending', 'active') OR ($2 = 'rolled_back' AND status IN ('succeeded', 'expired')))
RETURNING instance_id

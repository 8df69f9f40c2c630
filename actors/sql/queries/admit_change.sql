-- pending -> $2 (active after an approval, expired after a rejection) for change $1. Index: the primary key.
UPDATE evolution_approved_changes SET status = $2, closed_at = CASE WHEN $2 = 'active' THEN NULL ELSE clock_timestamp() END
WHERE proposal_id = $1 AND status = 'pending'

-- What was noted of votes on their way is of no use from here on.
-- voting -> $2 for proposal $1, with $3 confidence and $4 rationale. No row: it was decided already. Index: the primary key.
WITH forgotten AS (DELETE FROM evolution_votes_cast WHERE proposal_id = $1)
UPDATE evolution_consensus SET status = $2, confidence = $3, rationale = $4, decided_at = clock_timestamp()
WHERE proposal_id = $1 AND status = 'voting'
RETURNING proposal_id

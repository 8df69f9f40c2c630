-- Proposal $1 is held to have passed the limits $2; $3: one of them rolls back at once. Index: the primary key.
UPDATE evolution_proposals SET suspect = $2, condemned_at = CASE WHEN $3 THEN coalesce(condemned_at, clock_timestamp()) END
WHERE proposal_id = $1

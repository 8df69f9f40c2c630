-- Locks the watched changes of instance $1, always in this order, so that of two rollbacks that end at once one waits for the other.
-- Index: evolution_proposals_watched.
SELECT FROM evolution_proposals WHERE instance_id = $1 AND status = 'applied' AND kept_at IS NULL ORDER BY proposal_id FOR UPDATE

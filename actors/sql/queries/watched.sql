-- The changes of instance $1 that are applied and watched: id, when each was begun, what it is suspected of.
-- Index: evolution_proposals_watched.
SELECT proposal_id, execution_started_at, suspect FROM evolution_proposals
WHERE instance_id = $1 AND status = 'applied' AND kept_at IS NULL ORDER BY execution_started_at

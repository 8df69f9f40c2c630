-- The changes of instance $1 that are applied and watched: id, when each was begun, what it is suspected of. Not those whose rollback
-- was given up: they are a person's to mend, and hide nobody else's defects meanwhile.
-- Indexes: evolution_proposals_watched, evolution_rollbacks' primary key.
SELECT p.proposal_id, p.execution_started_at, p.suspect FROM evolution_proposals p
WHERE p.instance_id = $1 AND p.status = 'applied' AND p.kept_at IS NULL
  AND NOT EXISTS (SELECT FROM evolution_rollbacks r WHERE r.proposal_id = p.proposal_id AND r.failed_at IS NOT NULL)
ORDER BY p.execution_started_at

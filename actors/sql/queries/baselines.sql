-- Where the watched changes of instance $1, but $2, are measured from, locked. Index: evolution_proposals_watched.
SELECT proposal_id, coalesce(baseline, metrics_before) AS baseline FROM evolution_proposals
WHERE instance_id = $1 AND proposal_id <> $2 AND status = 'applied' AND kept_at IS NULL ORDER BY proposal_id FOR UPDATE

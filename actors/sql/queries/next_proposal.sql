-- What send_next_proposals.sql would send first for instance $1, in the same order, left where it is. Index: evolution_proposals_pending.
SELECT c.* FROM evolution_proposals c
WHERE c.instance_id = $1 AND c.status = 'pending' AND NOT EXISTS (
  SELECT FROM evolution_proposals o
  WHERE o.instance_id = $1 AND o.target_key = c.target_key
    AND (o.status IN ('sent_for_consensus', 'consensus_reached', 'executing') OR (o.status = 'applied' AND o.kept_at IS NULL)))
ORDER BY c.priority * (1 + extract(epoch FROM clock_timestamp() - c.created_at)::float8 / 86400 * 0.1) DESC, c.created_at, c.proposal_id
LIMIT 1

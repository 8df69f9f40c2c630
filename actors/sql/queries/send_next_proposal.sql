-- pending -> sent_for_consensus for the best waiting proposal of instance $1 whose target no open change holds.
-- The order is score::priority: a day of waiting raises a score by a tenth. No row: nothing can be sent now.
-- Index: evolution_proposals_pending, evolution_proposals_one_open (which also refuses what two senders would do at once).
UPDATE evolution_proposals SET status = 'sent_for_consensus', consensus_sent_at = clock_timestamp()
WHERE status = 'pending' AND proposal_id = (
  SELECT c.proposal_id FROM evolution_proposals c
  WHERE c.instance_id = $1 AND c.status = 'pending' AND NOT EXISTS (
    SELECT FROM evolution_proposals o
    WHERE o.instance_id = $1 AND o.target_key = c.target_key
      AND (o.status IN ('sent_for_consensus', 'consensus_reached', 'executing') OR (o.status = 'applied' AND o.kept_at IS NULL)))
  ORDER BY c.priority * (1 + extract(epoch FROM clock_timestamp() - c.created_at)::float8 / 86400 * 0.1) DESC, c.created_at, c.proposal_id
  LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *

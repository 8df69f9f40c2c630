-- pending -> sent_for_consensus for the best $2 waiting proposals of instance $1 whose target no open change holds, one a target; answers
-- them, the best first. The order is score::priority: a day of waiting raises a score by a tenth. No row: nothing can be sent now.
-- Index: evolution_proposals_pending, evolution_proposals_one_open (which also refuses what two senders would do at once).
WITH waiting AS MATERIALIZED (
  SELECT proposal_id, created_at, target_key,
         priority * (1 + extract(epoch FROM clock_timestamp() - created_at)::float8 / 86400 * 0.1) AS score
  FROM evolution_proposals WHERE instance_id = $1 AND status = 'pending'),
best AS MATERIALIZED (
  SELECT proposal_id, created_at, score,
         row_number() OVER (PARTITION BY coalesce(target_key, proposal_id::text) ORDER BY score DESC, created_at, proposal_id) AS place
  FROM waiting w
  WHERE NOT EXISTS (
    SELECT FROM evolution_proposals o
    WHERE o.instance_id = $1 AND o.target_key = w.target_key
      AND (o.status IN ('sent_for_consensus', 'consensus_reached', 'executing') OR (o.status = 'applied' AND o.kept_at IS NULL)))),
chosen AS MATERIALIZED (
  SELECT c.proposal_id FROM evolution_proposals c JOIN best b USING (proposal_id)
  WHERE c.status = 'pending' AND b.place = 1
  ORDER BY b.score DESC, b.created_at, b.proposal_id LIMIT $2 FOR UPDATE OF c SKIP LOCKED),
sent AS (
  UPDATE evolution_proposals p SET status = 'sent_for_consensus', consensus_sent_at = clock_timestamp()
  FROM chosen WHERE p.proposal_id = chosen.proposal_id
  RETURNING p.*)
SELECT sent.* FROM sent JOIN best USING (proposal_id) ORDER BY best.score DESC, best.created_at, best.proposal_id

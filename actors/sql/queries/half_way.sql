-- Proposals of instance $1 that something must still happen to, with the vote on them (null: central never took it in), until
-- when they are observed (null: not, or not any more), and whether Guardian's case is open, and has no report yet.
-- Once a start. Index: evolution_proposals_one_open for the open ones, few among all.
SELECT p.*, c.status AS vote_status, c.deadline AS vote_deadline, c.proposal AS vote_proposal,
       c.confidence AS vote_confidence, c.rationale AS vote_rationale,
       CASE WHEN p.kept_at IS NULL THEN p.observed_until END AS left_until, 
       a.status = 'active' AS is_watched, a.first_report_at IS NULL AS awaits_first
FROM evolution_proposals p
LEFT JOIN evolution_consensus c USING (proposal_id)
LEFT JOIN evolution_approved_changes a USING (proposal_id)
WHERE p.instance_id = $1 AND (
  p.status IN ('sent_for_consensus', 'consensus_reached', 'executing') OR (p.status = 'applied' AND p.kept_at IS NULL)
  OR a.status = 'active')
ORDER BY p.created_at, p.proposal_id

-- Proposals to be executed whose last order is a dead letter: each, why that died, and whether it was one to take back and fail.
-- Indexes: evolution_proposals_one_open, evolution_messages' primary key, pgflow's own.
SELECT p.*, d.error, pgflow_payload(d.codec, d.body) ? 'died' AS again
FROM evolution_proposals p JOIN evolution_messages m USING (proposal_id) JOIN pgflow_dlq d ON d.id = m.message_id
WHERE p.status IN ('consensus_reached', 'executing') AND p.rollback_requested_at IS NULL AND d.kind = 'execute_proposal' AND NOT EXISTS (
  SELECT FROM evolution_messages later JOIN pgflow_messages o ON o.id = later.message_id
  WHERE later.proposal_id = p.proposal_id AND later.message_id > m.message_id AND o.kind = 'execute_proposal')

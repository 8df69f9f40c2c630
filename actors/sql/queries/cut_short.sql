-- Executions of instance $1 that the database calls under way; waits for one whose outcome is being written.
-- Index: evolution_proposals_executing.
SELECT proposal_id FROM evolution_proposals WHERE instance_id = $1 AND status = 'executing' ORDER BY proposal_id FOR UPDATE

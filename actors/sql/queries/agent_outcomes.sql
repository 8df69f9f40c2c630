-- How the newest 100 executions of agent type $2 on instance $1 ended, newest first: true for applied.
-- Index: evolution_proposals_outcomes.
SELECT status = 'applied' FROM evolution_proposals
WHERE instance_id = $1 AND agent_type = $2 AND status IN ('applied', 'failed', 'rolled_back')
ORDER BY execution_completed_at DESC NULLS LAST LIMIT 100

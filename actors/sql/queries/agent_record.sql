-- What became of the changes of agent type $2 on instance $1: applied, failed, rolled back. Index: evolution_proposals_outcomes.
SELECT count(*) FILTER (WHERE status = 'applied'), count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'rolled_back')
FROM evolution_proposals
WHERE instance_id = $1 AND agent_type = $2 AND status IN ('applied', 'failed', 'rolled_back')

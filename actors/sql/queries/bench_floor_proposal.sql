-- The floor's first statement: the proposal. $1 id, $2 change, $3 target.
INSERT INTO bench_floor_proposals (proposal_id, instance_id, agent_type, change_type, code_change, priority, target_key)
VALUES ($1, 'floor', 'BugFixerAgent', 'bug_fix', $2, 1, $3)

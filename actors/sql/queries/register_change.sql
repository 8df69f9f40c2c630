-- Registers a change with Guardian, from its proposal. $1 id, $2 instance, $3 agent type, $4 change type, $5 change, $6 profile.
INSERT INTO evolution_approved_changes (proposal_id, instance_id, agent_type, change_type, code_changeset, safety_profile)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (proposal_id) DO NOTHING

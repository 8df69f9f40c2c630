-- Submits a proposal. No row: the id is taken.
-- $1 id, $2 instance, $3 agent type, $4 agent id, $5 change type, $6 change, $7 metadata, $8 profile, $9 impact, $10 risk,
-- $11 score, $12 target key. Index: the primary key.
INSERT INTO evolution_proposals (proposal_id, instance_id, agent_type, agent_id, change_type, code_change, metadata, safety_profile,
                                 impact_score, risk_score, priority, target_key)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (proposal_id) DO NOTHING
RETURNING proposal_id

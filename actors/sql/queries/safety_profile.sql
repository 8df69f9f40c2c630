-- The profile that instance $1 holds for agent type $2. Index: the primary key.
SELECT profile, learned_at FROM evolution_safety_profiles WHERE instance_id = $1 AND agent_type = $2 FOR UPDATE

-- Saves what was learned for an agent type. $1 agent type, $2 profile, $3 source, $4 when.
INSERT INTO evolution_learned_profiles (agent_type, profile, source, learned_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (agent_type) DO UPDATE SET profile = excluded.profile, source = excluded.source, learned_at = excluded.learned_at

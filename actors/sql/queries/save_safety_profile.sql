-- Saves a profile: $1 instance, $2 agent type, $3 profile, $4 source, $5 when it was learned. An older one never replaces a newer.
INSERT INTO evolution_safety_profiles (instance_id, agent_type, profile, source, learned_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (instance_id, agent_type) DO UPDATE SET profile = excluded.profile, source = excluded.source, learned_at = excluded.learned_at
  WHERE evolution_safety_profiles.learned_at < excluded.learned_at
RETURNING agent_type

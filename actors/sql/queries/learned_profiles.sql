-- What central learned, for whoever comes late and to tell what changed.
SELECT agent_type, profile, source, learned_at FROM evolution_learned_profiles ORDER BY agent_type

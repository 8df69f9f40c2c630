-- What was learned for agent type $1. Index: the primary key.
SELECT profile FROM evolution_learned_profiles WHERE agent_type = $1

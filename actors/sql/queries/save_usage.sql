-- Saves what an instance contributed to a pattern. $1 pattern, $2 instance, $3 success, $4 count, $5 agent types, $6 when.
INSERT INTO evolution_pattern_usage (pattern_id, instance_id, success_rate, usage_count, agent_types, last_used_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (pattern_id, instance_id) DO UPDATE SET success_rate = excluded.success_rate, usage_count = excluded.usage_count,
  agent_types = excluded.agent_types, last_used_at = excluded.last_used_at

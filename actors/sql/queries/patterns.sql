-- All patterns (of type $1, unless null), with their usage by instance.
SELECT p.pattern_id, p.fingerprint, p.pattern_type, p.code_pattern, p.success_rate, p.mean_similarity, p.promoted, p.updated_at,
       jsonb_object_agg(u.instance_id, jsonb_build_object('success_rate', u.success_rate, 'usage_count', u.usage_count,
         'agent_types', u.agent_types, 'last_used_at', u.last_used_at)) AS usage
FROM evolution_patterns p JOIN evolution_pattern_usage u USING (pattern_id)
WHERE $1::text IS NULL OR p.pattern_type = $1
GROUP BY p.pattern_id ORDER BY p.pattern_id

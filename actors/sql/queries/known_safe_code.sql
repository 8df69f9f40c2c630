-- The code of the changes $1 and of the patterns $2. Index: the primary keys.
SELECT proposal_id, 0::bigint, code_changeset FROM evolution_approved_changes WHERE proposal_id = ANY ($1)
UNION ALL SELECT NULL, pattern_id, coalesce(jsonb_build_object('code', code_pattern -> 'after'), code_pattern)
FROM evolution_patterns WHERE pattern_id = ANY ($2)

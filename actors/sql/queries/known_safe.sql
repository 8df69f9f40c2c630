-- What is known to be safe: the newest 200 changes that succeeded, and all trusted patterns.
-- Index: evolution_approved_changes_proven.
(SELECT code_changeset FROM evolution_approved_changes WHERE status = 'succeeded' ORDER BY closed_at DESC LIMIT 200)
UNION ALL SELECT coalesce(jsonb_build_object('code', code_pattern -> 'after'), code_pattern) FROM evolution_patterns
  WHERE trusted AND code_pattern ? 'after'

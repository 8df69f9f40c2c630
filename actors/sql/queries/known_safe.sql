-- What is known to be safe: the newest 200 changes that succeeded, and all trusted patterns.
-- Index: evolution_approved_changes_proven.
SELECT ARRAY(SELECT proposal_id FROM evolution_approved_changes WHERE status = 'succeeded' ORDER BY closed_at DESC LIMIT 200),
       ARRAY(SELECT pattern_id FROM evolution_patterns WHERE trusted AND code_pattern ? 'after')

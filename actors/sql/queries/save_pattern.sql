-- Saves a pattern; answers its id. $1 type, $2 fingerprint, $3 code pattern, $4 instances, $5 success, $6 similarity, $7 score,
-- $8 usage, $9 promoted, $10 when. Index: evolution_patterns_once.
INSERT INTO evolution_patterns AS p (pattern_type, fingerprint, code_pattern, source_instances, success_rate, mean_similarity,
                                     consensus_score, usage_count, promoted, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (pattern_type, fingerprint) DO UPDATE SET source_instances = excluded.source_instances, success_rate = excluded.success_rate,
  mean_similarity = excluded.mean_similarity, consensus_score = excluded.consensus_score, usage_count = excluded.usage_count,
  promoted = p.promoted OR excluded.promoted, updated_at = excluded.updated_at
RETURNING pattern_id

-- Saves a rule. $1 id, $2 rule, $3 confidence, $4 when.
INSERT INTO evolution_rules (rule_id, rule, confidence, generated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (rule_id) DO UPDATE SET rule = excluded.rule, confidence = excluded.confidence, generated_at = excluded.generated_at

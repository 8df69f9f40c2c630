-- Raises an alert, or renews the one that is open: $1 kind, $2 subject, $3 proposal, $4 instance, $5 severity, $6 detail.
-- Answers whether it is new, or worse than before. Index: evolution_alerts_open.
WITH before AS (SELECT severity FROM evolution_alerts WHERE kind = $1 AND subject = $2 AND cleared_at IS NULL),
raised AS (
  INSERT INTO evolution_alerts (kind, subject, proposal_id, instance_id, severity, detail) VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (kind, subject) WHERE cleared_at IS NULL DO UPDATE SET severity = excluded.severity, detail = excluded.detail
  RETURNING severity)
SELECT NOT EXISTS (SELECT FROM before) OR (raised.severity = 'page' AND EXISTS (SELECT FROM before WHERE severity = 'warn')) FROM raised

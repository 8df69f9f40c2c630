-- Rollbacks whose trigger is a dead letter, each once: the change, where, its type, how long it was tried, and why it died.
WITH dead AS (
  SELECT r.proposal_id, d.error FROM evolution_rollbacks r JOIN pgflow_dlq d ON d.id = r.message_id
  WHERE r.completed_at IS NULL AND r.failed_at IS NULL)
UPDATE evolution_rollbacks r SET failed_at = clock_timestamp() FROM dead, evolution_approved_changes c
WHERE r.proposal_id = dead.proposal_id AND c.proposal_id = r.proposal_id
RETURNING r.proposal_id, r.instance_id, c.change_type, extract(epoch FROM r.failed_at - r.triggered_at)::float8 AS seconds, dead.error

-- Everything that happened to proposal $1 in the evolution system's own tables, in order of time: its row, the vote, the reports,
-- the rollback, the alerts that stand. Index: the primary keys, evolution_change_metrics_change, pgflow_alerts_pkey.
SELECT at, what, detail FROM (
  SELECT t.at, t.what, p.instance_id || ': ' || p.agent_type || coalesce(', ' || t.why, '') AS detail FROM evolution_proposals p CROSS JOIN LATERAL (VALUES
    (p.created_at, 'submitted', 'score ' || round(p.priority::numeric, 3)), (p.consensus_sent_at, 'sent_for_consensus', NULL),
    (p.execution_started_at, 'execution_started', NULL),
    (CASE WHEN p.rollback_triggered_at IS NULL OR p.metrics_after IS NOT NULL THEN p.execution_completed_at END,
      CASE WHEN p.status = 'failed' THEN 'failed' ELSE 'applied' END, p.execution_error),
    (p.kept_at, 'kept', NULL), (p.rollback_requested_at, 'rollback_requested', p.rollback_reason)) AS t(at, what, why)
    WHERE p.proposal_id = $1
  UNION ALL SELECT proposed_at, 'proposal_recorded', 'likeness ' || round(similarity::numeric, 2) FROM evolution_consensus WHERE proposal_id = $1
  UNION ALL SELECT decided_at, status, rationale FROM evolution_consensus WHERE proposal_id = $1
  UNION ALL SELECT voted_at, 'vote', instance_id || ': ' || vote || ' ' || confidence || ', ' || reason FROM evolution_consensus_votes WHERE proposal_id = $1
  UNION ALL SELECT reported_at, 'metrics', coalesce(status, '') || ' ' || metrics_after::text || CASE breaches WHEN '[]' THEN '' ELSE ' BREACH ' || breaches::text END
    FROM evolution_change_metrics WHERE proposal_id = $1
  UNION ALL SELECT triggered_at, 'rollback_ordered', reason || ' ' || breach::text FROM evolution_rollbacks WHERE proposal_id = $1
  UNION ALL SELECT completed_at, 'rollback_confirmed', strategy ->> 'change_type' FROM evolution_rollbacks WHERE proposal_id = $1
  UNION ALL SELECT raised_at, 'ALERT ' || alert, detail FROM pgflow_alerts
    WHERE source = 'evolution' AND alert IN ('threshold_breach', 'metrics_stale', 'rollback_failed') AND subject = $1::uuid::text
  UNION ALL SELECT stale_alerted_at, 'went_silent', instance_id FROM evolution_approved_changes WHERE proposal_id = $1
  UNION ALL SELECT failed_at, 'rollback_given_up', reason FROM evolution_rollbacks WHERE proposal_id = $1
) AS everything WHERE at IS NOT NULL ORDER BY at, what

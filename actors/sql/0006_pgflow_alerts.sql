-- Alerts are rows of pgflow's own table, where whoever asks pgflow finds them; what the queues show is judged by pgflow alone. What
-- is open moves there; of what is over, reports, rollbacks and stale_alerted_at tell. The old tables
-- stay, unused: an older program that runs on during an upgrade still writes there.
INSERT INTO pgflow_alerts (source, alert, subject, level, detail, raised_at)
SELECT 'evolution', kind, subject, severity, left(concat_ws(': ', 'on ' || instance_id, detail::text), 1000), raised_at
FROM evolution_alerts WHERE cleared_at IS NULL AND kind IN ('threshold_breach', 'metrics_stale', 'rollback_failed')
ON CONFLICT (source, alert, subject) DO NOTHING;

-- The open alerts, the worst first. Index: evolution_alerts_open.
SELECT kind, subject, instance_id, severity, detail, raised_at FROM evolution_alerts
WHERE cleared_at IS NULL ORDER BY severity, raised_at

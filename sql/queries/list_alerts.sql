-- The alerts that stand, the gravest and oldest first; at most $1.
SELECT to_jsonb(x) FROM (
  SELECT source, alert, subject, level, detail, {schema}.pgflow_rfc3339(raised_at) AS raised_at
  FROM {schema}.pgflow_alerts a ORDER BY level = 'warn', a.raised_at LIMIT $1::int) x

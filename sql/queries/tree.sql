-- The live instances with the supervision trees they last reported; at most $1. Index: pgflow_instances_live.
SELECT to_jsonb(x) FROM (
  SELECT session_id, name, host, pid, {schema}.pgflow_rfc3339(started_at) AS started_at, {schema}.pgflow_rfc3339(heartbeat_at) AS heartbeat_at,
         extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS heartbeat_age_s, decodes, tree
  FROM {schema}.pgflow_instances WHERE ended_at IS NULL ORDER BY name, session_id LIMIT $1::int) x

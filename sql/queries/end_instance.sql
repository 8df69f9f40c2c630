-- $3: whether it died, or stopped by itself.
-- Marks session $1 as ended, once it has nothing active; ends its listener backend where permitted, for a stopped
-- process would hold its arm locks for ever ($2: whether to, after a lease rescue). Index: pgflow_instances_pkey.
WITH ended AS (
  UPDATE {schema}.pgflow_instances i SET ended_at = clock_timestamp(), died = $3
  WHERE session_id = $1 AND ended_at IS NULL
    AND ($2 OR NOT $3 OR listener_pid IS NOT NULL AND pg_try_advisory_xact_lock_shared({space}, 65536 + $1::int))
    AND NOT EXISTS (SELECT 1 FROM {schema}.pgflow_active a WHERE a.session_id = i.session_id)
  RETURNING listener_pid)
SELECT CASE WHEN $2 THEN (
    SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
    WHERE a.pid = ended.listener_pid AND a.application_name = 'pgflow listener ' || $1::int::text
      AND pg_has_role(a.usesysid, 'USAGE')) END AS terminated
FROM ended

-- Marks session $1 as ended, once it has nothing active. $3: whether it died, or stopped by itself. $2: whether to end its listener's
-- backend where permitted (after a lease rescue: a stopped process would hold its arm locks for ever), told as in end_old_listener.
-- Index: pgflow_instances_pkey; none of active, the table is small.
WITH ended AS (
  UPDATE {schema}.pgflow_instances i SET ended_at = clock_timestamp(), died = $3
  WHERE session_id = $1 AND ended_at IS NULL
    AND ($2 OR NOT $3 OR listener_pid IS NOT NULL AND pg_try_advisory_xact_lock_shared({space}, 65536 + $1::int))
    AND NOT EXISTS (SELECT 1 FROM {schema}.pgflow_active a WHERE a.session_id = i.session_id)
  RETURNING listener_pid, heartbeat_at)
SELECT CASE WHEN $2 THEN (
    SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
    WHERE a.pid = ended.listener_pid AND a.backend_start <= ended.heartbeat_at AND a.datname = current_database()
      AND starts_with(a.application_name || ' ', 'pgflow listener ' || $1::int::text || ' ') AND pg_has_role(a.usesysid, 'USAGE')) END AS terminated
FROM ended

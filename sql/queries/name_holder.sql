-- The session of another live holder of the name $1, if any ($2: our own session). One that polls without a session holds
-- no lock: it lives if it has beaten within $3 ms.
-- Index: pgflow_instances_live.
SELECT session_id, host, pid FROM {schema}.pgflow_instances
WHERE ended_at IS NULL AND name = $1 AND session_id <> $2
  AND CASE WHEN listener_pid IS NULL THEN heartbeat_at > clock_timestamp() - $3::bigint * interval '1 millisecond'
           ELSE NOT pg_try_advisory_xact_lock_shared({space}, 65536 + session_id) END

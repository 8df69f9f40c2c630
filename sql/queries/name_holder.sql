-- The session of another live holder of the name $1, if any ($2: our own session).
-- Index: pgflow_instances_live.
SELECT session_id, host, pid FROM {schema}.pgflow_instances
WHERE ended_at IS NULL AND name = $1 AND session_id <> $2
  AND NOT pg_try_advisory_xact_lock_shared({space}, 65536 + session_id)

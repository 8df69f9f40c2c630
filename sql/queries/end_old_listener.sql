-- Ends the earlier listener backend of session $1, which may still hold its liveness lock on a dead connection. Never a stranger that
-- got its pid: that one began after the listener's last word, or (behind a session pooler, on the same backend) has another name.
SELECT pg_terminate_backend(a.pid) FROM {schema}.pgflow_instances i JOIN pg_stat_activity a ON a.pid = i.listener_pid
WHERE i.session_id = $1 AND a.pid <> pg_backend_pid() AND a.backend_start <= i.heartbeat_at AND a.datname = current_database()
  AND starts_with(a.application_name || ' ', 'pgflow listener ' || $1::int::text || ' ') AND pg_has_role(a.usesysid, 'USAGE')

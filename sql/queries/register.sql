-- Writes session $1 as live: $2 name, $3 what it decodes, $4 host, $5 pid. Its liveness lock is held by this session
-- already; $6: this is none (W10), and no backend is its listener's.
INSERT INTO {schema}.pgflow_instances (session_id, name, listener_pid, decodes, host, pid)
VALUES ($1, $2, CASE WHEN NOT $6::bool THEN pg_backend_pid() END, $3, $4, $5)
ON CONFLICT (session_id) DO UPDATE SET listener_pid = excluded.listener_pid, heartbeat_at = clock_timestamp(), ended_at = NULL, died = false

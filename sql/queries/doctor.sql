-- The symptoms that a doctor judges, in one row; it only reads. $1: lease in ms.
-- Index: pgflow_ready_pkey (the first row of each lane), pgflow_dlq_created, pgflow_instances_live.
WITH live AS (SELECT name, heartbeat_at, decodes, listener_pid FROM {schema}.pgflow_instances WHERE ended_at IS NULL),
firsts AS (
  SELECT q.name, min(r.created_at) AS oldest FROM {schema}.pgflow_queues q JOIN {schema}.pgflow_lanes l USING (queue_id)
  CROSS JOIN LATERAL (SELECT created_at FROM {schema}.pgflow_ready WHERE lane_id = l.lane_id ORDER BY seq LIMIT 1) r
  WHERE NOT q.paused GROUP BY q.name),
open_for AS (
  SELECT a.pid, a.application_name, a.state, left(regexp_replace(a.query, '\s+', ' ', 'g'), 120) AS query, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds FROM pg_stat_activity a
  WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL AND a.backend_type = 'client backend'
  ORDER BY a.xact_start LIMIT 1),
behind AS (
  SELECT slot_name, age(xmin)::bigint AS transactions FROM pg_replication_slots WHERE xmin IS NOT NULL ORDER BY age(xmin) DESC LIMIT 1)
SELECT to_jsonb(x) FROM (SELECT
  current_setting('server_version') AS server_version,
  current_setting('server_version_num')::int AS server_version_num,
  current_setting('fsync') = 'on' AS fsync,
  current_setting('synchronous_commit') <> 'off' AS synchronous_commit,
  pg_is_in_recovery() AS read_only,
  (SELECT mode FROM {schema}.pgflow_meta) AS mode,
  (SELECT count(*) FROM pg_trigger WHERE tgname = 'pgflow_wake' AND tgenabled = 'A'
     AND tgrelid IN ('{schema}.pgflow_ready'::regclass, '{schema}.pgflow_scheduled'::regclass)) AS wake_triggers,
  (SELECT count(*) FROM generate_series(0, 2) d
    WHERE to_regclass(format('{schema}.%I', 'pgflow_history_' || to_char((clock_timestamp() AT TIME ZONE 'UTC')::date + d, 'YYYYMMDD'))) IS NULL) AS partitions_missing,
  (SELECT pid FROM open_for) AS open_pid, (SELECT application_name FROM open_for) AS open_name,
  (SELECT state FROM open_for) AS open_state, (SELECT query FROM open_for) AS open_query,
  (SELECT seconds FROM open_for) AS open_seconds,
  ARRAY(SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 1000) AS prepared,
  (SELECT slot_name FROM behind) AS slot, (SELECT transactions FROM behind) AS slot_transactions,
  current_setting('max_connections')::int AS connections_max,
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
  (SELECT count(*) FROM live) AS instances,
  ARRAY(SELECT name FROM live WHERE listener_pid IS NULL ORDER BY name LIMIT 10) AS polling,
  ARRAY(SELECT name FROM live WHERE heartbeat_at < clock_timestamp() - $1::bigint * interval '1 millisecond' ORDER BY name LIMIT 10) AS silent,
  ARRAY(SELECT f.name FROM firsts f WHERE NOT EXISTS (SELECT 1 FROM live WHERE live.decodes ? f.name) ORDER BY f.name LIMIT 10) AS unserved,
  (SELECT name FROM firsts ORDER BY oldest LIMIT 1) AS slowest_queue,
  (SELECT extract(epoch FROM clock_timestamp() - min(oldest))::float8 FROM firsts) AS slowest_seconds,
  ARRAY(SELECT name FROM {schema}.pgflow_queues WHERE paused AND deleted_at IS NULL ORDER BY name LIMIT 10) AS paused,
  (SELECT count(*) FROM (SELECT 1 FROM {schema}.pgflow_dlq LIMIT 10001) d) AS dead,
  (SELECT count(*) FROM {schema}.pgflow_parked WHERE reason = 'undecodable') AS undecodable) x

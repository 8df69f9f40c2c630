-- The figures of the queue $1: now, and over the last hour. No row: unknown queue.
-- Latency: from publish to the start of the first try, of messages finished in the hour or being processed; a retried dead
-- letter does not count, a delay asked for does. Throughput: over the last five minutes.
-- Index: pgflow_ready_pkey (index only), pgflow_history_when (reads about the hour's rows; it takes a stable clock).
WITH q AS MATERIALIZED (SELECT * FROM {schema}.pgflow_queues WHERE name = $1 AND deleted_at IS NULL),
lanes AS MATERIALIZED (SELECT l.lane_id FROM {schema}.pgflow_lanes l JOIN q USING (queue_id)),
hour AS MATERIALIZED (
  SELECT h.id, h.status, h.attempt, h.claimed_at, h.created_at, h.finished_at FROM {schema}.pgflow_history h
  WHERE h.finished_at > statement_timestamp() - interval '1 hour' AND h.lane_id = ANY (ARRAY(SELECT lane_id FROM lanes))),
first_starts AS (
  SELECT extract(epoch FROM s.claimed_at - s.created_at)::float8 * 1000 AS ms FROM (
    SELECT id, attempt, claimed_at, created_at FROM hour
    UNION ALL SELECT id, attempt, claimed_at, created_at FROM {schema}.pgflow_active
      WHERE claimed_at > clock_timestamp() - interval '1 hour' AND lane_id IN (SELECT lane_id FROM lanes)) s
  WHERE s.attempt = 1 AND (s.claimed_at - s.created_at < interval '60 s'
        OR NOT EXISTS (SELECT 1 FROM {schema}.pgflow_attempts a WHERE a.id = s.id AND a.event = 'retried'))),
latency AS (SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY ms) AS p FROM first_starts),
live AS (SELECT tree FROM {schema}.pgflow_instances WHERE ended_at IS NULL AND decodes ? $1)
SELECT to_jsonb(x) FROM (
  SELECT q.name AS queue_name, q.paused,
    (SELECT count(*) FROM {schema}.pgflow_ready     WHERE lane_id IN (SELECT lane_id FROM lanes)) AS pending,
    (SELECT count(*) FROM {schema}.pgflow_scheduled WHERE lane_id IN (SELECT lane_id FROM lanes)) AS scheduled,
    (SELECT count(*) FROM {schema}.pgflow_parked    WHERE queue_id = q.queue_id) AS parked,
    (SELECT count(*) FROM {schema}.pgflow_active    WHERE lane_id IN (SELECT lane_id FROM lanes)) AS processing,
    (SELECT count(*) FROM hour WHERE status = 'done') AS done_1h,
    (SELECT count(*) FROM {schema}.pgflow_dlq       WHERE lane_id IN (SELECT lane_id FROM lanes)) AS dead,
    (SELECT round(extract(epoch FROM clock_timestamp() - min(f.created_at)), 3)::float8 FROM lanes CROSS JOIN LATERAL (
       SELECT r.created_at FROM {schema}.pgflow_ready r WHERE r.lane_id = lanes.lane_id ORDER BY r.seq LIMIT 1) f) AS oldest_pending_age_s,
    (SELECT count(*) FROM hour WHERE attempt > 1)
      + (SELECT count(*) FROM {schema}.pgflow_scheduled WHERE attempt > 0 AND lane_id IN (SELECT lane_id FROM lanes)) AS retried,
    round(latency.p[1]::numeric, 3)::float8 AS latency_p50_ms, round(latency.p[2]::numeric, 3)::float8 AS latency_p95_ms, round(latency.p[3]::numeric, 3)::float8 AS latency_p99_ms,
    (SELECT count(*) FROM hour WHERE finished_at > clock_timestamp() - interval '5 minutes')::float8 / 5 AS throughput_per_min,
    (SELECT count(*) FROM live) AS instances,
    (SELECT count(*) FROM live CROSS JOIN LATERAL jsonb_path_query(live.tree,
       'strict $.** ? (@.id == $queue).** ? (@.id starts with "worker " && @.running == true)', jsonb_build_object('queue', 'queue ' || $1::text), true)) AS workers
  FROM q CROSS JOIN latency) x

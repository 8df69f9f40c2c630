-- The queues with their depths, by name; at most $1. Reads the whole index of ready: seconds at ten million waiting rows.
-- Index: pgflow_ready_pkey (index only; the oldest: the first row of each lane).
WITH depth AS (
  SELECT l.queue_id, sum(m.pending)::bigint AS pending, sum(m.scheduled)::bigint AS scheduled, sum(m.parked)::bigint AS parked,
         sum(m.processing)::bigint AS processing, sum(m.dead)::bigint AS dead
  FROM (SELECT lane_id, count(*) AS pending, 0 AS scheduled, 0 AS parked, 0 AS processing, 0 AS dead FROM {schema}.pgflow_ready GROUP BY 1
        UNION ALL SELECT lane_id, 0, count(*), 0, 0, 0 FROM {schema}.pgflow_scheduled GROUP BY 1
        UNION ALL SELECT lane_id, 0, 0, count(*), 0, 0 FROM {schema}.pgflow_parked    GROUP BY 1
        UNION ALL SELECT lane_id, 0, 0, 0, count(*), 0 FROM {schema}.pgflow_active    GROUP BY 1
        UNION ALL SELECT lane_id, 0, 0, 0, 0, count(*) FROM {schema}.pgflow_dlq       GROUP BY 1) m
  JOIN {schema}.pgflow_lanes l USING (lane_id) GROUP BY 1)
SELECT to_jsonb(x) FROM (
  SELECT q.name AS queue_name, q.paused, q.max_retries, q.retry_delay_ms, q.retry_delay_ms_max, q.payload_bytes_max,
         {schema}.pgflow_rfc3339(q.created_at) AS created_at, coalesce(d.pending, 0) AS pending,
         (SELECT extract(epoch FROM clock_timestamp() - min(f.created_at))::float8 FROM {schema}.pgflow_lanes l CROSS JOIN LATERAL (
            SELECT r.created_at FROM {schema}.pgflow_ready r WHERE r.lane_id = l.lane_id ORDER BY r.seq LIMIT 1) f
          WHERE l.queue_id = q.queue_id) AS oldest_pending_age_s,
         coalesce(d.scheduled, 0) AS scheduled,
         coalesce(d.parked, 0) AS parked, coalesce(d.processing, 0) AS processing, coalesce(d.dead, 0) AS dead
  FROM {schema}.pgflow_queues q LEFT JOIN depth d USING (queue_id)
  WHERE q.deleted_at IS NULL ORDER BY q.name LIMIT $1::int) x

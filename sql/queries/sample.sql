-- What the leader's monitor looks at once a minute: per queue the dead letters, the depth, and how long the oldest claimable
-- message has waited; at most $1 rows are counted of each lane, and of the dead letters. Index: pgflow_ready_pkey.
WITH dead AS (SELECT lane_id, count(*) AS dead FROM (SELECT lane_id FROM {schema}.pgflow_dlq LIMIT $1::int) d GROUP BY lane_id)
SELECT q.name, q.paused, coalesce(sum(d.dead), 0)::bigint AS dead, sum(p.pending)::bigint AS pending,
       extract(epoch FROM clock_timestamp() - min(f.created_at))::float8 AS oldest_s
FROM {schema}.pgflow_queues q JOIN {schema}.pgflow_lanes l USING (queue_id)
CROSS JOIN LATERAL (SELECT count(*) AS pending FROM (SELECT 1 FROM {schema}.pgflow_ready r WHERE r.lane_id = l.lane_id LIMIT $1::int) r) p
LEFT JOIN dead d USING (lane_id)
LEFT JOIN LATERAL (SELECT r.created_at FROM {schema}.pgflow_ready r WHERE r.lane_id = l.lane_id ORDER BY r.seq LIMIT 1) f ON true
WHERE q.deleted_at IS NULL GROUP BY q.queue_id ORDER BY q.name

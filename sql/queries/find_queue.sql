-- What a publisher keeps about the queue $1: id, payload limit, its common lanes high, normal, low, their fences. No row: unknown or deleted.
-- Index: pgflow_queues_name_once, pgflow_lanes_once.
SELECT q.queue_id, q.payload_bytes_max, h.lane_id, n.lane_id, l.lane_id, h.fence, n.fence, l.fence
FROM {schema}.pgflow_queues q
JOIN {schema}.pgflow_lanes h ON h.queue_id = q.queue_id AND h.class = 10  AND h.target IS NULL
JOIN {schema}.pgflow_lanes n ON n.queue_id = q.queue_id AND n.class = 0   AND n.target IS NULL
JOIN {schema}.pgflow_lanes l ON l.queue_id = q.queue_id AND l.class = -10 AND l.target IS NULL
WHERE q.name = $1 AND q.deleted_at IS NULL

-- The queues named $1 with their lanes: the common ones and those addressed to $2.
SELECT q.queue_id, q.name, q.paused, q.max_retries, l.lane_id, l.class, l.target
FROM {schema}.pgflow_queues q JOIN {schema}.pgflow_lanes l USING (queue_id)
WHERE q.name = ANY ($1::text[]) AND q.deleted_at IS NULL AND (l.target IS NULL OR l.target = $2)
ORDER BY q.queue_id, l.lane_id

-- Publishes one copy of a message to every live instance that serves the queue $1; $2 class, $3 kind, $4 version, $5 codec, $6 body,
-- $7 headers, $8 ordering key, $9 dedup key, $10 delay in ms, $11 source, $12 broadcast id.
-- Answers (id, message id, lane) of each copy; no row: nobody serves it, or the queue is unknown, or the body over its limit.
-- Index: pgflow_queues_name_once, pgflow_instances_live.
SELECT p.put_id, p.put_message_id, p.put_lane_id
FROM {schema}.pgflow_queues q
CROSS JOIN LATERAL {schema}.pgflow_broadcast(q.queue_id, $2, ARRAY(SELECT name FROM {schema}.pgflow_instances WHERE ended_at IS NULL AND decodes ? $1),
                                             $3, $4, $5, $6, $7, $8, $9, $10 * interval '1 millisecond', $11, $12) p
WHERE q.name = $1 AND q.deleted_at IS NULL AND octet_length($6) <= q.payload_bytes_max

-- Publishes one addressed ($3), keyed ($10), deduplicated ($11) or delayed ($12 ms) message by its queue's name $1 and class $2
-- inside somebody else's transaction. $4 message id, $5 kind, $6 version, $7 codec, $8 body, $9 headers, $13 source.
-- Answers id and message id; no row: the queue is unknown, or the body is over its limit. Index: pgflow_queues_name_once.
SELECT p.put_id, p.put_message_id
FROM {schema}.pgflow_queues q
CROSS JOIN LATERAL {schema}.pgflow_put(q.queue_id, {schema}.pgflow_lane(q.queue_id, $2, $3), $4, $5, $6, $7, $8, $9, $10, $11, $12 * interval '1 millisecond', $13) p
WHERE q.name = $1 AND q.deleted_at IS NULL AND octet_length($8) <= q.payload_bytes_max

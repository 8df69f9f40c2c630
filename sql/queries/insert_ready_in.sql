-- Publishes one message by its queue's name $1 and class $2 inside somebody else's transaction, in one round trip.
-- $3 message id, $4 kind, $5 version, $6 codec, $7 body, $8 headers, $9 source. Answers the id; no row: the queue is
-- unknown, or the body is over its limit. Index: pgflow_queues_name_once, pgflow_lanes_once.
INSERT INTO {schema}.pgflow_ready (lane_id, message_id, kind, version, codec, body, headers, source)
SELECT l.lane_id, $3, $4, $5, $6, $7, $8, $9
FROM {schema}.pgflow_queues q JOIN {schema}.pgflow_lanes l USING (queue_id)
WHERE q.name = $1 AND q.deleted_at IS NULL AND l.class = $2 AND l.target IS NULL AND octet_length($7) <= q.payload_bytes_max
RETURNING seq

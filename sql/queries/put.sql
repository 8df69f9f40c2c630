-- Publishes one message that has an ordering key ($8), a dedup key ($9) or a delay in ms ($10) into the lane $1.
-- $2 message id, $3 kind, $4 version, $5 codec, $6 body, $7 headers, $11 source, $12 fence. Answers id and message id (a repeated
-- dedup key: those of the first); no row: the lane is closed. Raises PGF01 when the lane's
-- fence was raised. Index: pgflow_lanes_pkey, pgflow_dedup_pkey, pgflow_keys_pkey.
SELECT p.put_id, p.put_message_id
FROM {schema}.pgflow_lanes l
CROSS JOIN LATERAL {schema}.pgflow_put(l.queue_id, l.lane_id, $2, $3, $4, $5, $6, $7, $8, $9, $10::bigint * interval '1 millisecond', $11, $12) p
WHERE l.lane_id = $1 AND l.open

-- Publishes one copy of a message to every live instance that serves the queue $1; $2 class, $3 kind, $4 version, $5 codec, $6 body,
-- $7 headers, $8 ordering key, $9 dedup key, $10 delay in ms, $11 source, $12 broadcast id. A key holds for each addressee alone
-- (`key@instance`), so that one that is gone holds nobody up. Keys are locked in the order of pgflow_put_many.
-- Answers (id, message id, lane) of each copy; no row: nobody serves it, or the queue is unknown, or the body over its limit.
-- Index: pgflow_queues_name_once, pgflow_instances_live.
WITH copies AS MATERIALIZED (
  SELECT q.queue_id, i.name, $8 || '@' || i.name AS ordering_key, $9 || '@' || i.name AS dedup_key
  FROM {schema}.pgflow_queues q
  CROSS JOIN (SELECT DISTINCT name FROM {schema}.pgflow_instances WHERE ended_at IS NULL AND decodes ? $1) i
  WHERE q.name = $1 AND q.deleted_at IS NULL AND octet_length($6) <= q.payload_bytes_max
  ORDER BY 4, 3, 2),
placed AS MATERIALIZED (SELECT copies.*, {schema}.pgflow_lane(queue_id, $2, name) AS lane_id FROM copies)
SELECT p.put_id, p.put_message_id, c.lane_id
FROM placed c
CROSS JOIN LATERAL {schema}.pgflow_put(c.queue_id, c.lane_id, gen_random_uuid(), $3, $4, $5, $6, $7, c.ordering_key, c.dedup_key,
                                       $10 * interval '1 millisecond', $11, $12) p

-- Puts undecodable messages first parked more than $1 ms ago into the DLQ (unsupported_version): nobody live could take them.
-- Answers (id, dead, queue_id, ordering_key). Index: pgflow_parked_undecodable.
WITH gone AS (
  DELETE FROM {schema}.pgflow_parked WHERE reason = 'undecodable' AND least(parked_at, (SELECT min(a.at) FROM {schema}.pgflow_attempts a WHERE a.id = pgflow_parked.id AND a.event = 'undecodable'))
        < clock_timestamp() - $1::bigint * interval '1 millisecond' RETURNING *),
judged AS (SELECT gone.*, q.name AS queue_name FROM gone JOIN {schema}.pgflow_queues q USING (queue_id)),
died AS (
  INSERT INTO {schema}.pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, published_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, queue_name, 'unsupported_version: no live instance decodes kind "' || kind || '" version ' || version, 'unsupported_version', lane_id, attempt, created_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged)
SELECT id, true AS dead, queue_id, ordering_key FROM judged

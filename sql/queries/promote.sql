-- Makes up to $1 due messages ready, in order of their time. Index: pgflow_scheduled_due.
WITH due AS (
  DELETE FROM {schema}.pgflow_scheduled WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {schema}.pgflow_scheduled WHERE run_at <= clock_timestamp() ORDER BY run_at, id LIMIT $1::int FOR UPDATE SKIP LOCKED))
  RETURNING *)
INSERT INTO {schema}.pgflow_ready (id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
SELECT id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id FROM due ORDER BY run_at, id

-- Parks up to $1 messages anew that were readdressed to an instance which is not live any more: others may be able to read them.
-- Nobody sleeps on these lanes. Index: pgflow_lanes by target, pgflow_ready_pkey.
WITH gone AS (
  DELETE FROM {schema}.pgflow_ready WHERE ctid = ANY (ARRAY(
    SELECT r.ctid FROM {schema}.pgflow_lanes l JOIN {schema}.pgflow_ready r ON r.lane_id = l.lane_id
    WHERE l.target IS NOT NULL AND r.id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM {schema}.pgflow_instances i WHERE i.ended_at IS NULL AND i.name = l.target)
      AND EXISTS (SELECT 1 FROM {schema}.pgflow_attempts a WHERE a.id = r.id AND a.event = 'readdressed' AND a.detail = l.target)
    LIMIT $1::int FOR UPDATE OF r SKIP LOCKED))
  RETURNING *)
INSERT INTO {schema}.pgflow_parked (id, reason, queue_id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
SELECT g.id, 'undecodable', l.queue_id, g.attempt, g.lane_id, g.version, g.codec, g.message_id, g.created_at, g.kind, g.body, g.headers, g.ordering_key, g.source, g.broadcast_id
FROM gone g JOIN {schema}.pgflow_lanes l USING (lane_id)

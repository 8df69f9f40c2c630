-- What decides whether the message $1 runs. No row: unknown. Index: pgflow_find; the key's head is looked for in its queue's lanes.
WITH m AS MATERIALIZED (SELECT * FROM {schema}.pgflow_find($1)),
fleet AS (SELECT i.name, i.decodes FROM {schema}.pgflow_instances i WHERE i.ended_at IS NULL)
SELECT to_jsonb(x) FROM (
  SELECT m.id, q.name AS queue_name, m.status, m.kind, m.version, m.attempt, m.reason, m.error, m.ordering_key, l.target,
    q.paused, q.deleted_at IS NOT NULL AS queue_deleted, {schema}.pgflow_rfc3339(m.run_at) AS run_at, {schema}.pgflow_rfc3339(m.claimed_at) AS claimed_at,
    (SELECT i.name FROM {schema}.pgflow_instances i WHERE i.session_id = m.session_id) AS instance,
    (SELECT count(*) FROM fleet WHERE fleet.decodes ? q.name AND (l.target IS NULL OR fleet.name = l.target)) AS serving,
    (SELECT count(*) FROM fleet WHERE (l.target IS NULL OR fleet.name = l.target)
       AND coalesce((fleet.decodes -> q.name ->> m.kind)::int, (fleet.decodes -> q.name ->> '*')::int, -1) >= m.version) AS decoding,
    CASE WHEN m.reason = 'key' THEN (
      SELECT h.id FROM (
        SELECT a.id FROM {schema}.pgflow_active a WHERE a.ordering_key = m.ordering_key AND a.lane_id IN (SELECT lane_id FROM {schema}.pgflow_lanes WHERE queue_id = q.queue_id)
        UNION ALL SELECT s.id FROM {schema}.pgflow_scheduled s WHERE s.ordering_key = m.ordering_key AND s.lane_id IN (SELECT lane_id FROM {schema}.pgflow_lanes WHERE queue_id = q.queue_id)
        UNION ALL SELECT p.id FROM {schema}.pgflow_parked p WHERE p.reason <> 'key' AND p.ordering_key = m.ordering_key AND p.queue_id = q.queue_id
        UNION ALL SELECT coalesce(r.id, r.seq) FROM {schema}.pgflow_ready r WHERE r.ordering_key = m.ordering_key AND r.lane_id IN (SELECT lane_id FROM {schema}.pgflow_lanes WHERE queue_id = q.queue_id)) h
      LIMIT 1) END AS key_head,
    CASE WHEN m.reason = 'key' THEN (SELECT count(*) FROM {schema}.pgflow_parked p WHERE p.reason = 'key' AND p.queue_id = q.queue_id AND p.ordering_key = m.ordering_key AND p.id < m.id) END AS key_ahead,
    CASE WHEN m.status = 'pending' THEN (
      SELECT count(*) FROM (
        SELECT 1 FROM {schema}.pgflow_lanes o JOIN {schema}.pgflow_ready r USING (lane_id)
        WHERE o.queue_id = q.queue_id AND o.target IS NOT DISTINCT FROM l.target
          AND (o.class > l.class OR (o.class = l.class AND r.seq < (SELECT coalesce(min(b.seq), m.id) FROM {schema}.pgflow_ready b WHERE b.id = m.id)))
        LIMIT 10000) before) END AS ahead,
    (SELECT count(*) FROM {schema}.pgflow_active a JOIN {schema}.pgflow_lanes al USING (lane_id) WHERE al.queue_id = q.queue_id) AS processing
  FROM m JOIN {schema}.pgflow_lanes l USING (lane_id) JOIN {schema}.pgflow_queues q USING (queue_id) LIMIT 1) x

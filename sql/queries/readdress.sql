-- Re-enters up to $1 undecodable messages, each addressed to a live instance that advertises its kind and version
-- (only to its own addressee, if it had one). Index: pgflow_parked_undecodable. Lanes are made in the order of pgflow_broadcast.
WITH chosen AS MATERIALIZED (
  SELECT p.id, (SELECT i.name FROM {schema}.pgflow_instances i
                WHERE i.ended_at IS NULL AND (l.target IS NULL OR l.target = i.name)
                  AND coalesce((i.decodes -> q.name ->> p.kind)::int, (i.decodes -> q.name ->> '*')::int, -1) >= p.version
                  -- Not to one that could not: it would come back for ever.
                  AND NOT EXISTS (SELECT 1 FROM {schema}.pgflow_attempts a WHERE a.id = p.id AND a.event = 'undecodable' AND a.session_id = i.session_id)
                ORDER BY random() LIMIT 1) AS name, p.queue_id, l.class
  FROM {schema}.pgflow_parked p JOIN {schema}.pgflow_lanes l USING (lane_id) JOIN {schema}.pgflow_queues q ON q.queue_id = p.queue_id
  WHERE p.reason = 'undecodable' ORDER BY p.id LIMIT $1::int),
placed AS MATERIALIZED (
  SELECT id, name, {schema}.pgflow_lane(queue_id, class, name) AS new_lane
  FROM (SELECT * FROM chosen WHERE name IS NOT NULL ORDER BY queue_id, class, name) c),
gone AS (
  DELETE FROM {schema}.pgflow_parked p USING placed WHERE p.id = placed.id RETURNING p.*, placed.new_lane, placed.name),
noted AS (
  INSERT INTO {schema}.pgflow_attempts (id, event, attempt, detail) SELECT id, 'readdressed', attempt, name FROM gone)
INSERT INTO {schema}.pgflow_ready (id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
SELECT id, attempt, new_lane, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id  FROM gone

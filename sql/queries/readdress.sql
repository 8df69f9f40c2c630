-- Re-enters up to $1 undecodable messages, each addressed to a live instance that advertises its kind and version; only to its own
-- addressee, if it had one from the start (then no name is noted: by the name it is told that the address is ours).
-- Index: pgflow_parked_undecodable. Lanes are made in the order of pgflow_broadcast.
WITH asked AS MATERIALIZED (
  SELECT p.id, p.queue_id, p.kind, p.version, q.name AS queue_name, l.class,
         CASE WHEN NOT EXISTS (SELECT 1 FROM {schema}.pgflow_attempts a WHERE a.id = p.id AND a.event = 'readdressed' AND a.detail IS NOT NULL) THEN l.target END AS target
  FROM {schema}.pgflow_parked p JOIN {schema}.pgflow_lanes l USING (lane_id) JOIN {schema}.pgflow_queues q ON q.queue_id = p.queue_id
  WHERE p.reason = 'undecodable' ORDER BY p.id LIMIT $1::int),
chosen AS MATERIALIZED (
  SELECT k.id, k.queue_id, k.class, k.target, (
    SELECT i.name FROM {schema}.pgflow_instances i
    WHERE i.ended_at IS NULL AND (k.target IS NULL OR k.target = i.name)
      AND coalesce((i.decodes -> k.queue_name ->> k.kind)::int, (i.decodes -> k.queue_name ->> '*')::int, -1) >= k.version
      -- Not to one that could not: it would come back for ever.
      AND NOT EXISTS (SELECT 1 FROM {schema}.pgflow_attempts a WHERE a.id = k.id AND a.event = 'undecodable' AND a.session_id = i.session_id)
    ORDER BY random() LIMIT 1) AS name
  FROM asked k),
placed AS MATERIALIZED (
  SELECT id, name, target, {schema}.pgflow_lane(queue_id, class, name) AS new_lane
  FROM (SELECT * FROM chosen WHERE name IS NOT NULL ORDER BY queue_id, class, name) c),
gone AS (
  DELETE FROM {schema}.pgflow_parked p USING placed WHERE p.id = placed.id RETURNING p.*, placed.new_lane, placed.name, placed.target),
noted AS (
  INSERT INTO {schema}.pgflow_attempts (id, event, attempt, detail)
  SELECT id, 'readdressed', attempt, CASE WHEN target IS NULL THEN name END FROM gone)
INSERT INTO {schema}.pgflow_ready (id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
SELECT id, attempt, new_lane, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id  FROM gone

-- Up to $2 waiting messages of the queue $1, in the order of their claim. Index: pgflow_ready_pkey once per lane.
SELECT to_jsonb(x) FROM (
  SELECT coalesce(r.id, r.seq) AS id, q.name AS queue_name, r.kind, 'pending' AS status, r.attempt AS retry_count, l.class AS priority,
         {schema}.pgflow_payload(r.codec, r.body) AS payload, octet_length(r.body) AS body_bytes,
         {schema}.pgflow_rfc3339(r.created_at) AS created_at, r.message_id, r.version, r.ordering_key, l.target, r.source, r.headers
  FROM {schema}.pgflow_queues q JOIN {schema}.pgflow_lanes l USING (queue_id)
  CROSS JOIN LATERAL (SELECT * FROM {schema}.pgflow_ready WHERE lane_id = l.lane_id ORDER BY seq LIMIT $2::int) r
  WHERE q.name = $1 AND q.deleted_at IS NULL
  ORDER BY l.class DESC, r.seq LIMIT $2::int) x

-- Up to $2 dead letters, newest first; of the queue $1 (null: of all), or the one with the id $3 (null: any). Index: pgflow_dlq_created.
SELECT to_jsonb(x) FROM (
  SELECT d.id, d.queue_name, d.kind, 'dead' AS status, greatest(d.attempt - 1, 0) AS retry_count, l.class AS priority,
         {schema}.pgflow_payload(d.codec, d.body) AS payload, octet_length(d.body) AS body_bytes,
         d.error, d.error_kind, {schema}.pgflow_rfc3339(d.created_at) AS created_at, {schema}.pgflow_rfc3339(d.published_at) AS published_at,
         d.message_id, d.version, d.ordering_key, l.target, d.source, d.headers
  FROM {schema}.pgflow_dlq d JOIN {schema}.pgflow_lanes l USING (lane_id)
  WHERE ($1::text IS NULL OR d.queue_name = $1) AND ($3::bigint IS NULL OR d.id = $3)
  ORDER BY d.created_at DESC, d.id DESC LIMIT $2::int) x

-- What befell the messages $1, in time order, at most $2 events. Index: by id in every table; pgflow_attempts_id.
WITH m AS MATERIALIZED (SELECT f.* FROM unnest($1::bigint[]) AS asked(id) CROSS JOIN LATERAL {schema}.pgflow_find(asked.id) f),
tries AS MATERIALIZED (SELECT a.* FROM {schema}.pgflow_attempts a WHERE a.id = ANY ($1::bigint[])),
events AS (
  SELECT m.id, m.created_at AS at, 0 AS rank, 'published' AS event, NULL::int AS attempt, m.source AS instance, NULL::int AS session_id,
         'kind "' || m.kind || '" to queue "' || q.name || '"' || coalesce(' for "' || l.target || '"', '') AS detail
    FROM m JOIN {schema}.pgflow_lanes l USING (lane_id) JOIN {schema}.pgflow_queues q USING (queue_id)
  UNION ALL
  SELECT t.id, t.claimed_at, 1, 'started', t.attempt + (t.event IN ('handed_back', 'undecodable'))::int, NULL, t.session_id, NULL FROM tries t WHERE t.claimed_at IS NOT NULL
  UNION ALL
  SELECT t.id, t.at, 2, CASE t.event WHEN 'process_died' THEN 'rescued' ELSE t.event END, t.attempt, NULL, t.session_id, t.detail FROM tries t
  UNION ALL
  SELECT m.id, m.claimed_at, 1, 'started', m.attempt, NULL, m.session_id, NULL FROM m WHERE m.claimed_at IS NOT NULL AND m.status <> 'parked'
  UNION ALL
  SELECT m.id, m.finished_at, 2, m.status, m.attempt, NULL, m.session_id, coalesce(m.reason || ': ', '') || m.error FROM m WHERE m.finished_at IS NOT NULL
  UNION ALL
  SELECT m.id, greatest(m.claimed_at, m.created_at), 2, 'parked', m.attempt, NULL, NULL, CASE m.reason WHEN 'key' THEN 'behind key "' || m.ordering_key || '"' ELSE m.reason END FROM m WHERE m.status = 'parked'
  UNION ALL
  SELECT m.id, m.run_at, 3, 'scheduled', m.attempt, NULL, NULL, 'not before this time' FROM m WHERE m.status = 'scheduled')
SELECT to_jsonb(x) FROM (
  SELECT e.id, {schema}.pgflow_rfc3339(e.at) AS at, e.event, e.attempt, coalesce(e.instance, i.name) AS instance, e.session_id, e.detail
  FROM events e LEFT JOIN {schema}.pgflow_instances i USING (session_id)
  ORDER BY e.at, e.rank, e.id LIMIT $2::int) x

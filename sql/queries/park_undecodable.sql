-- Parks the messages $1 (tokens $2) that this instance cannot decode ($3: why), attempt count unchanged, for the sweeper to readdress.
-- Answers the ids that were still ours. Index: pgflow_active_pkey, as in settle_done. Fence: (id, token).
WITH gone AS (
  DELETE FROM {schema}.pgflow_active WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM unnest($1::bigint[], $2::bigint[]) AS t(id, token)
    CROSS JOIN LATERAL (SELECT ctid FROM {schema}.pgflow_active WHERE id = t.id AND token = t.token LIMIT 1) a))
  RETURNING *),
noted AS (
  INSERT INTO {schema}.pgflow_attempts (id, event, attempt, token, session_id, claimed_at, detail)
  SELECT id, 'undecodable', attempt - 1, token, session_id, claimed_at, t.why FROM gone JOIN unnest($1::bigint[], $2::bigint[], $3::text[]) AS t(id, token, why) USING (id, token))
INSERT INTO {schema}.pgflow_parked (id, reason, queue_id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
SELECT g.id, 'undecodable', l.queue_id, g.attempt - 1, g.lane_id, g.version, g.codec, g.message_id, g.created_at, g.kind, g.body, g.headers, g.ordering_key, g.source, g.broadcast_id FROM gone g JOIN {schema}.pgflow_lanes l USING (lane_id)
RETURNING id

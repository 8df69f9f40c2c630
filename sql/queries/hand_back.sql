-- Hands the messages $1 (tokens $2) back unstarted: same place in the lane, same attempt count.
-- Answers the ids that were still ours. An old place may be below a low-water mark: everybody is told of each lane's first, under the
-- lock that the INSERT takes. Index: pgflow_active_pkey, as in settle_done. Fence: (id, token).
WITH gone AS (
  DELETE FROM {schema}.pgflow_active WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM unnest($1::bigint[], $2::bigint[]) AS t(id, token)
    CROSS JOIN LATERAL (SELECT ctid FROM {schema}.pgflow_active WHERE id = t.id AND token = t.token LIMIT 1) a))
  RETURNING *),
noted AS (
  INSERT INTO {schema}.pgflow_attempts (id, event, attempt, token, session_id, claimed_at)
  SELECT id, 'handed_back', attempt - 1, token, session_id, claimed_at FROM gone),
back AS (
  INSERT INTO {schema}.pgflow_ready (id, seq, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, seq, attempt - 1, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id FROM gone
  RETURNING id, lane_id, seq),
told AS MATERIALIZED (SELECT pg_notify('pgflow_{space}_low', lane_id || ' ' || min(seq)) AS each FROM back GROUP BY lane_id)
SELECT id, (SELECT count(each) FROM told) FROM back

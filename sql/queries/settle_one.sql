-- Finishes the message $1 under the token $2, in its handler's own transaction. Raises PGF01 when it was fenced: the COMMIT may be on
-- its way already, and must find the transaction aborted.
-- Index: pgflow_active_pkey, by a plain comparison: a handler's connection has no settings of ours. Fence: (id, token).
-- The key is released by the caller, in the same transaction.
WITH gone AS (
  DELETE FROM {schema}.pgflow_active a WHERE a.id = $1 AND a.token = $2 RETURNING a.*),
kept AS (
  INSERT INTO {schema}.pgflow_history (id, status, token, session_id, claimed_at, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, 'done', token, session_id, claimed_at, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id FROM gone
  RETURNING id)
SELECT CASE WHEN count(*) = 0 THEN {schema}.pgflow_fenced($1) END FROM kept

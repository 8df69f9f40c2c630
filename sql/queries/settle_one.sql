-- Finishes the message $1 under the token $2, in its handler's own transaction. Raises PGF01 when it was fenced: the COMMIT may be on
-- its way already, and must find the transaction aborted.
-- Index: pgflow_active_pkey, by a plain comparison: a handler's connection has no settings of ours. Fence: (id, token).
-- With a key ($4, of queue $3) the next of it becomes ready: looked for by statements of their own, with later snapshots.
WITH gone AS (
  DELETE FROM {schema}.pgflow_active a WHERE a.id = $1 AND a.token = $2 RETURNING a.*),
kept AS (
  INSERT INTO {schema}.pgflow_history (id, status, token, session_id, claimed_at, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, 'done', token, session_id, claimed_at, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id FROM gone
  RETURNING id)
SELECT CASE WHEN count(*) = 0 THEN {schema}.pgflow_fenced($1)
            WHEN $4::text IS NOT NULL THEN {schema}.pgflow_release_keys(ARRAY[$3::int], ARRAY[$4]) END FROM kept

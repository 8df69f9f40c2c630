-- Finishes the messages $1 under the tokens $2. Answers the ids that were still ours: a missing one was fenced.
-- Index: pgflow_active_pkey. Fence: (id, token). Keys are released by the caller, in the same transaction.
-- The ctid form keeps a plan that was made while the table was small from walking all of it, and what is gone of it, for each message.
WITH gone AS (
  DELETE FROM {schema}.pgflow_active WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM unnest($1::bigint[], $2::bigint[]) AS t(id, token)
    CROSS JOIN LATERAL (SELECT ctid FROM {schema}.pgflow_active WHERE id = t.id AND token = t.token LIMIT 1) a))
  RETURNING *)
INSERT INTO {schema}.pgflow_history (id, status, token, session_id, claimed_at, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
SELECT id, 'done', token, session_id, claimed_at, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id FROM gone
RETURNING id

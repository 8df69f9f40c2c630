-- Which tokens of ($1 id, $2 token) were settled by us after all: asked after a settle whose COMMIT was not answered.
-- Index: pgflow_history_id, pgflow_attempts_id, pgflow_dlq_pkey.
SELECT t.token FROM unnest($1::bigint[], $2::bigint[]) AS t(id, token)
WHERE EXISTS (SELECT 1 FROM {schema}.pgflow_history  h WHERE h.id = t.id AND h.token = t.token)
   OR EXISTS (SELECT 1 FROM {schema}.pgflow_attempts a WHERE a.id = t.id AND a.token = t.token AND a.event <> 'process_died')
   OR EXISTS (SELECT 1 FROM {schema}.pgflow_dlq      d WHERE d.id = t.id AND d.token = t.token AND d.error_kind <> 'process_died')

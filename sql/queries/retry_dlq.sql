-- Sends up to $2 dead letters of the queue $1 (null: of all) round again that died before $4 (null: now), or the one with the id $3
-- (null: any): the oldest first, their tries counted from nothing. Their deaths stay in the audit trail. One keeps its id, so a
-- keyed one is the next of its key after an unfinished head. Letters of deleted queues stay. Answers how many, and $4.
-- Index: pgflow_dlq_pkey, pgflow_keys_pkey. Fence: SKIP LOCKED, a purge or another retry in flight wins. A rescue's death leaves its
-- token out: see find_settled. The keys' rows are locked as at publish, after which the rows are written.
WITH gone AS (
  DELETE FROM {schema}.pgflow_dlq WHERE ctid = ANY (ARRAY(
    SELECT d.ctid FROM {schema}.pgflow_dlq d JOIN {schema}.pgflow_lanes USING (lane_id) JOIN {schema}.pgflow_queues q USING (queue_id)
    WHERE q.deleted_at IS NULL AND ($1::text IS NULL OR d.queue_name = $1) AND ($3::bigint IS NULL OR d.id = $3)
      AND d.created_at <= coalesce($4::timestamptz, statement_timestamp())
    ORDER BY d.id LIMIT $2::int FOR UPDATE OF d SKIP LOCKED))
  RETURNING *),
numbered AS MATERIALIZED (
  SELECT gone.*, l.queue_id, row_number() OVER (ORDER BY gone.id) AS n FROM gone JOIN {schema}.pgflow_lanes l USING (lane_id)),
held AS MATERIALIZED (
  SELECT h.head, h.n FROM (SELECT array_agg(queue_id ORDER BY n) AS queues, array_agg(ordering_key ORDER BY n) AS keys, array_agg(true) AS firsts FROM numbered) k
  CROSS JOIN unnest({schema}.pgflow_hold_keys(k.queues, k.keys, k.firsts)) WITH ORDINALITY AS h(head, n)),
chosen AS MATERIALIZED (SELECT * FROM numbered JOIN held USING (n)),
died AS (
  INSERT INTO {schema}.pgflow_attempts (id, at, event, attempt, token, session_id, claimed_at, detail)
  SELECT id, {schema}.pgflow_kept_time('pgflow_attempts', created_at), 'dead', attempt, CASE WHEN error_kind <> 'process_died' THEN token END,
         session_id, claimed_at, error_kind || ': ' || error FROM chosen),
noted AS (INSERT INTO {schema}.pgflow_attempts (id, event, attempt) SELECT id, 'retried', 0 FROM chosen),
back AS (
  INSERT INTO {schema}.pgflow_ready (id, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, lane_id, version, codec, message_id, published_at, kind, body, headers, ordering_key, source, broadcast_id FROM chosen WHERE head ORDER BY n),
aside AS (
  INSERT INTO {schema}.pgflow_parked (id, reason, queue_id, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, 'key', queue_id, lane_id, version, codec, message_id, published_at, kind, body, headers, ordering_key, source, broadcast_id FROM chosen WHERE NOT head)
SELECT (SELECT count(*) FROM chosen), coalesce($4::timestamptz, statement_timestamp())

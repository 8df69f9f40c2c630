-- Which of the messages ($1 ids, $2 kinds) are in the tables, created since $3 ms of the Unix epoch. After raise_fences, and when the
-- transactions of publishing have ended: what is not found then will never come. Index: pgflow_history_when, else whole tables.
WITH asked AS (SELECT message_id, kind FROM unnest($1::uuid[], $2::text[]) AS t(message_id, kind)),
since AS (SELECT to_timestamp($3::bigint / 1000.0) AS at)
SELECT message_id FROM asked JOIN {schema}.pgflow_ready     m USING (message_id, kind) WHERE m.created_at >= (SELECT at FROM since)
UNION ALL SELECT message_id FROM asked JOIN {schema}.pgflow_scheduled m USING (message_id, kind) WHERE m.created_at >= (SELECT at FROM since)
UNION ALL SELECT message_id FROM asked JOIN {schema}.pgflow_parked    m USING (message_id, kind) WHERE m.created_at >= (SELECT at FROM since)
UNION ALL SELECT message_id FROM asked JOIN {schema}.pgflow_active    m USING (message_id, kind) WHERE m.created_at >= (SELECT at FROM since)
UNION ALL SELECT message_id FROM asked JOIN {schema}.pgflow_dlq       m USING (message_id, kind) WHERE m.published_at >= (SELECT at FROM since)
UNION ALL SELECT message_id FROM asked JOIN {schema}.pgflow_history   m USING (message_id, kind)
  WHERE m.finished_at >= (SELECT at FROM since) AND m.created_at >= (SELECT at FROM since)

-- The ids under which the message id $1 is known; at most 100. Index: pgflow_history_when, else whole tables.
SELECT coalesce(id, seq) AS id FROM {schema}.pgflow_ready WHERE message_id = $1
UNION ALL SELECT id FROM {schema}.pgflow_scheduled WHERE message_id = $1
UNION ALL SELECT id FROM {schema}.pgflow_parked    WHERE message_id = $1
UNION ALL SELECT id FROM {schema}.pgflow_active    WHERE message_id = $1
UNION ALL SELECT id FROM {schema}.pgflow_history   WHERE message_id = $1
UNION ALL SELECT id FROM {schema}.pgflow_dlq       WHERE message_id = $1
LIMIT 100

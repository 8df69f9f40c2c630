-- Pauses ($2 true) or resumes the queue $1 and has every runtime look again. No row: unknown queue. A claim asks `paused` itself.
WITH changed AS (UPDATE {schema}.pgflow_queues SET paused = $2 WHERE name = $1 AND deleted_at IS NULL RETURNING queue_id)
SELECT queue_id, pg_notify('pgflow_{space}_ctl', '') FROM changed

-- Makes the queue $1 when it is not there, with its common lanes; answers its id, and whether it was there before.
-- Settings that are given ($2 max_retries, $3 retry_delay_ms, $4 retry_delay_ms_max, $5 payload_bytes_max) are written, the others kept.
WITH made AS MATERIALIZED (SELECT {schema}.pgflow_create_queue($1) AS queue_id)
SELECT made.queue_id, {schema}.pgflow_apply_queue(made.queue_id, $2, $3, $4, $5),
  -- The statement does not see what its own function wrote.
  EXISTS (SELECT FROM {schema}.pgflow_queues WHERE name = $1 AND deleted_at IS NULL) AS was_there
FROM made

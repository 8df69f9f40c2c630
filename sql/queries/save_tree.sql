-- Keeps the supervision tree $2 of session $1 for `pgflow tree`.
UPDATE {schema}.pgflow_instances SET tree = $2 WHERE session_id = $1

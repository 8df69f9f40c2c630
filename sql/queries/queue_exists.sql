-- Whether a queue of the name $1 is there, or was and left messages behind.
SELECT EXISTS (SELECT 1 FROM {schema}.pgflow_queues WHERE name = $1)

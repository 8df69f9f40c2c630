-- How many dead letters are of deleted queues, which no retry sends round again. Index: pgflow_lanes_pkey; it reads the letters' table.
SELECT count(*) FROM {schema}.pgflow_dlq JOIN {schema}.pgflow_lanes USING (lane_id) JOIN {schema}.pgflow_queues USING (queue_id)
WHERE deleted_at IS NOT NULL

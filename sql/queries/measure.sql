-- Notes the tables' size now, forgets those of the day before yesterday; answers it, and the one of 24 hours ago if there is one.
-- Index: pgflow_sizes_pkey.
WITH gone AS (DELETE FROM {schema}.pgflow_sizes WHERE at < clock_timestamp() - interval '48 hours'),
now AS (INSERT INTO {schema}.pgflow_sizes (bytes) VALUES ({schema}.pgflow_size()) RETURNING bytes)
SELECT now.bytes, (SELECT s.bytes FROM {schema}.pgflow_sizes s WHERE s.at <= clock_timestamp() - interval '24 hours' ORDER BY s.at DESC LIMIT 1) AS before
FROM now

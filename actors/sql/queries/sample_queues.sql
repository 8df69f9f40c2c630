-- Notes the depth of every queue, at $1; forgets what is older than the newest $2 looks. pgflow's own index makes it cheap:
-- the first row of each lane, and a count over an index.
WITH forgotten AS (
  DELETE FROM evolution_queue_samples WHERE sampled_at < (
    SELECT min(sampled_at) FROM (SELECT DISTINCT sampled_at FROM evolution_queue_samples ORDER BY sampled_at DESC LIMIT $2::bigint - 1) kept))
INSERT INTO evolution_queue_samples (sampled_at, queue_name, pending, oldest_s)
SELECT $1, queue_name, count(*), coalesce(extract(epoch FROM $1 - min(created_at)), 0)::float8
FROM pgflow_messages WHERE status = 'pending' GROUP BY queue_name
ON CONFLICT DO NOTHING

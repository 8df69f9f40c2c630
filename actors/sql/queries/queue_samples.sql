-- Every queue's looks, newest first; a queue that a look did not find was empty then.
SELECT q.name AS queue_name, t.sampled_at, coalesce(s.pending, 0) AS pending, coalesce(s.oldest_s, 0) AS oldest_s
FROM (SELECT DISTINCT queue_name AS name FROM evolution_queue_samples) q
CROSS JOIN (SELECT DISTINCT sampled_at FROM evolution_queue_samples) t
LEFT JOIN evolution_queue_samples s ON s.queue_name = q.name AND s.sampled_at = t.sampled_at
ORDER BY q.name, t.sampled_at DESC

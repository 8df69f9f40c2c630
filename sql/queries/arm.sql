-- W1, W2: tries to become sentinel of the keys $1. Answers per key: 0 armed (we hold it), 1 silent publishers are in flight
-- (the shared lock was free, and is given back), 2 another runtime is sentinel. The scan must be a LATER statement.
-- W12: refused, we enlist for those of the lanes $2 that are on the key, BEFORE the shared try: whoever refuses that one lets the
-- key go later, and finds us then.
WITH tried AS MATERIALIZED (SELECT k, pg_try_advisory_lock({space}, k) AS ours FROM unnest($1::int[]) k),
enlisted AS MATERIALIZED (
  SELECT count(pg_try_advisory_lock_shared({space}, -l)) AS n FROM unnest($2::int[]) l JOIN tried ON k = l % 1024 WHERE NOT ours)
SELECT k, CASE WHEN ours THEN 0
               WHEN (SELECT n FROM enlisted) IS NULL THEN 1
               WHEN pg_try_advisory_lock_shared({space}, k) THEN CASE WHEN pg_advisory_unlock_shared({space}, k) THEN 1 ELSE 1 END
               ELSE 2 END AS state
FROM tried

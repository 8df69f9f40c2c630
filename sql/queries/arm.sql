-- W1, W2: tries to become sentinel of the keys $1. Answers per key: 0 armed (we hold it), 1 silent publishers are in flight
-- (the shared lock was free, and is given back), 2 another runtime is sentinel. The scan must be a LATER statement.
SELECT k, CASE WHEN pg_try_advisory_lock({space}, k) THEN 0
               WHEN pg_try_advisory_lock_shared({space}, k) THEN CASE WHEN pg_advisory_unlock_shared({space}, k) THEN 1 ELSE 1 END
               ELSE 2 END AS state
FROM unnest($1::int[]) k

-- The transactions that may publish now, or those of $1 (if not null) that still may: each holds one of these locks before it asks
-- for its lane's fence, or asks again after it has them. No index: the locks are in memory.
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
  AND relation = ANY (ARRAY['{schema}.pgflow_ready', '{schema}.pgflow_scheduled', '{schema}.pgflow_parked', '{schema}.pgflow_keys', '{schema}.pgflow_dedup']::regclass[])
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ($1::text[] IS NULL OR virtualtransaction = ANY ($1))

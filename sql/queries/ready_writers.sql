-- The transactions that may write into ready now, or those of $1 (if not null) that still may: an INSERT takes this lock before it
-- draws a place. A prepared transaction is among them; it has no process. No index: the locks are in memory.
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = '{schema}.pgflow_ready'::regclass AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ($1::text[] IS NULL OR virtualtransaction = ANY ($1))

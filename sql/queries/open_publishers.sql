-- W6: which of the keys $1 a publisher keeps silent whose transaction has been open for $2 ms. A prepared one counts, and one of an
-- account whose transactions we may not see; many short ones after each other do not. Index: none, it reads the server's memory.
SELECT DISTINCT l.objid::int FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.classid = {space} AND l.objid = ANY ($1::int[]::oid[]) AND l.objsubid = 2 AND l.mode = 'ShareLock' AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.pid IS NULL OR a.xact_start < clock_timestamp() - $2::bigint * interval '1 millisecond'
       OR (a.pid IS NOT NULL AND coalesce(a.state, 'disabled') = 'disabled'))

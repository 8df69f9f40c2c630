-- W3, W12: lets the keys $1 and our places on the lists of the lanes $2 go, and THEN tells, of each lane, one of those enlisted for
-- it: of the lanes $3, and of every lane on the keys $4 but $5. Told is the next one after us in the circle of backends: the
-- same one of all lanes, if he is enlisted for all. Answers what was told. (A lane's lock is that of the number −lane.)
WITH gone AS MATERIALIZED (
  SELECT (SELECT count(pg_advisory_unlock({space}, k)) FROM unnest($1::int[]) k)
       + (SELECT count(pg_advisory_unlock_shared({space}, -l)) FROM unnest($2::int[]) l) AS n),
enlisted AS (
  SELECT 4294967296 - objid::bigint AS lane, pid FROM pg_locks
  WHERE CASE WHEN (SELECT n FROM gone) IS NOT NULL THEN cardinality($3::int[]) + cardinality($4::int[]) > 0 END
    AND locktype = 'advisory' AND classid = {space} AND objid::bigint > 2147483648 AND objsubid = 2 AND mode = 'ShareLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()),
told AS (
  SELECT DISTINCT ON (lane) lane, pid FROM enlisted
  WHERE lane = ANY ($3) OR (lane % 1024 = ANY ($4) AND lane <> ALL ($5::int[]))
  ORDER BY lane, pid < pg_backend_pid(), pid)
SELECT pg_notify('pgflow_{space}_to_' || pid, string_agg(lane::text, ',')), array_agg(lane::int) AS lanes FROM told GROUP BY pid

-- Sessions other than $1 that own active messages though they are not live: ended, or forgotten. Asked by the leader now and then.
-- Index: none, the table is small.
SELECT DISTINCT a.session_id FROM {schema}.pgflow_active a
WHERE a.session_id <> $1 AND NOT EXISTS (
  SELECT 1 FROM {schema}.pgflow_instances i WHERE i.session_id = a.session_id AND i.ended_at IS NULL)

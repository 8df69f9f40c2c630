-- Makes ($2 alert, $3 subject, $4 level, $5 detail) all that the source $1 has to say: what is new is raised, what is missing is
-- cleared, what stands keeps its time. Answers (alert, subject, level, detail, raised) of what is news: raised, from a warning become
-- urgent, cleared. Index: pgflow_alerts_pkey.
WITH said AS (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS s (alert, subject, level, detail)),
cleared AS (
  DELETE FROM {schema}.pgflow_alerts a WHERE a.source = $1 AND NOT EXISTS (SELECT 1 FROM said s WHERE s.alert = a.alert AND s.subject = a.subject)
  RETURNING a.alert, a.subject, a.level, a.detail),
raised AS (
  INSERT INTO {schema}.pgflow_alerts AS a (source, alert, subject, level, detail) SELECT $1, alert, subject, level, detail FROM said
  ON CONFLICT (source, alert, subject) DO UPDATE SET level = excluded.level, detail = excluded.detail
  RETURNING a.alert, a.subject, a.level, a.detail, a.xmax = 0 AS fresh)
SELECT alert, subject, level, detail, true AS raised FROM raised r
WHERE fresh OR (r.level = 'page' AND EXISTS (
  SELECT FROM {schema}.pgflow_alerts b WHERE b.source = $1 AND b.alert = r.alert AND b.subject = r.subject AND b.level = 'warn'))
UNION ALL SELECT alert, subject, level, detail, false FROM cleared

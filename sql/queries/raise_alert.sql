-- Raises one alert ($1 source, $2 alert, $3 subject, $4 level, $5 detail); one that stands keeps its time. Answers whether that is
-- news: it did not stand, or only as a warning. Index: pgflow_alerts_pkey.
WITH raised AS (
  INSERT INTO {schema}.pgflow_alerts AS a (source, alert, subject, level, detail) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (source, alert, subject) DO UPDATE SET level = excluded.level, detail = excluded.detail
  RETURNING a.level, a.xmax = 0 AS fresh)
SELECT r.fresh OR (r.level = 'page' AND EXISTS (
  SELECT FROM {schema}.pgflow_alerts b WHERE b.source = $1 AND b.alert = $2 AND b.subject = $3 AND b.level = 'warn'))
FROM raised r

-- Raises one alert ($1 source, $2 alert, $3 subject, $4 level, $5 detail); one that stands keeps its time. Index: pgflow_alerts_pkey.
INSERT INTO {schema}.pgflow_alerts (source, alert, subject, level, detail) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (source, alert, subject) DO UPDATE SET level = excluded.level, detail = excluded.detail

-- Clears one alert ($1 source, $2 alert, $3 subject). No row: it did not stand. Index: pgflow_alerts_pkey.
DELETE FROM {schema}.pgflow_alerts WHERE source = $1 AND alert = $2 AND subject = $3 RETURNING alert

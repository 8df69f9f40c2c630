-- What raised alert $1 of subject $2 is over. No row: it was not open. Index: evolution_alerts_open.
UPDATE evolution_alerts SET cleared_at = clock_timestamp() WHERE kind = $1 AND subject = $2 AND cleared_at IS NULL RETURNING alert_id
